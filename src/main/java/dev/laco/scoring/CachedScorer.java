package dev.laco.scoring;

import dev.laco.backend.Backend;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.backend.TokenBatch;
import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.Score;
import dev.laco.collapse.Scorer;
import dev.laco.model.DType;
import dev.laco.model.ModelConfig;
import dev.laco.model.PackedSequences;
import dev.laco.model.TensorSource;
import dev.laco.transformer.CausalLm;
import dev.laco.transformer.Workspace;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/**
 * Scores plans against the original model, whose activations it keeps at every layer: a trial
 * starts at the first layer that differs. All calibration sentences run as one packed batch.
 */
public final class CachedScorer implements Scorer, AutoCloseable {
  private final Backend backend;
  private final TensorArena arena;
  private final Workspace work;
  private final TokenBatch batch;
  private final PlannedLayers layers;
  private final CausalLm candidate;

  /** Input of each original layer, {@code [T, d]}. */
  private final List<Tensor> prefix = new ArrayList<>();

  private final Tensor reference;
  private final Tensor states;
  private final Tensor normed;
  private int sweeps;

  /** Runs the original model once over the calibration set. */
  public CachedScorer(
      Backend backend,
      ModelConfig config,
      TensorSource source,
      CollapsePlan.Source planSource,
      PackedSequences calibration) {
    this.backend = backend;
    long tokens = calibration.size();
    arena = backend.arena();
    work = new Workspace(backend, config, tokens);
    layers =
        new PlannedLayers(
            backend, config, source, CollapsePlan.identity(planSource), backend::mixedDType);
    candidate = new CausalLm(backend, config, source, layers);
    batch = candidate.batch(calibration);
    reference = states(config, tokens);
    states = states(config, tokens);
    normed = states(config, tokens);
    runOriginal(config, tokens);
  }

  private Tensor states(ModelConfig config, long tokens) {
    return arena.allocate(DType.F32, tokens, config.hiddenSize());
  }

  private void runOriginal(ModelConfig config, long tokens) {
    candidate.embed(batch, states);
    for (int index = 0; index < config.numHiddenLayers(); index++) {
      Tensor input = states(config, tokens);
      backend.copy(states, input);
      prefix.add(input);
      candidate.layer(index, states, batch, work, null);
    }
    candidate.finalNorm(states, reference);
    sweeps++;
  }

  /** Bytes of buffers for a calibration set of {@code tokens} tokens. */
  public static long bytes(ModelConfig config, long tokens) {
    long matrices = config.numHiddenLayers() + 3L;
    return matrices * tokens * config.hiddenSize() * DType.F32.byteSize()
        + Workspace.bytes(config, tokens);
  }

  @Override
  public List<Score> score(List<CollapsePlan> plans) {
    return plans.stream().map(this::score).toList();
  }

  private Score score(CollapsePlan plan) {
    layers.use(plan);
    int from = plan.sharedPrefix();
    if (from == plan.source().layers()) {
      return similarity(reference);
    }
    // A plan that only drops the last layers shares every layer it has; its states enter the first
    // it lacks.
    backend.copy(prefix.get(from), states);
    candidate.finish(from, states, batch, work, normed);
    sweeps++;
    return similarity(normed);
  }

  private Score similarity(Tensor hidden) {
    return new Score(Arrays.stream(backend.cosine(reference, hidden, batch)).boxed().toList());
  }

  @Override
  public int sweeps() {
    return sweeps;
  }

  @Override
  public void close() {
    layers.close();
    batch.close();
    work.close();
    arena.close();
  }
}
