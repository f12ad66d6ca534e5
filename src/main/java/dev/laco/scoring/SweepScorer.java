package dev.laco.scoring;

import dev.laco.backend.Backend;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.backend.TokenBatch;
import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.LayerMix;
import dev.laco.collapse.Objective;
import dev.laco.collapse.Score;
import dev.laco.collapse.Scorer;
import dev.laco.collapse.Work;
import dev.laco.model.DType;
import dev.laco.model.ModelConfig;
import dev.laco.model.PackedSequences;
import dev.laco.model.TensorSource;
import dev.laco.transformer.CausalLm;
import dev.laco.transformer.PlannedLayers;
import dev.laco.transformer.RunningModel;
import dev.laco.transformer.Workspace;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.HashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.IntStream;

/**
 * Scores plans against the original model. One pass over the original's layers ({@link Sweep}) runs
 * as many plans as memory allows, each on all calibration sentences as one packed batch of {@code
 * T} tokens.
 */
public final class SweepScorer implements Scorer, AutoCloseable {
  private final Backend backend;
  private final CollapsePlan original;
  private final TensorArena arena;
  private final Workspace work;
  private final PlannedLayers layers;
  private final CausalLm model;
  private final RepeatedBatches batches;
  private final PrefixCache cache;
  private final WorkMeter meter;
  private final BatchNoise noise;
  private final Sweep sweep;
  private final int candidates;
  private final Objective objective;
  private final double passCost;

  /** The original's last hidden states, after the final norm, {@code [T, d]}. */
  private final Tensor reference;

  /** The hidden states of K candidates, one slot of {@code T} rows each: {@code [K T, d]}. */
  private final Tensor states;

  /** Runs the original model once over the calibration set. */
  public SweepScorer(
      RunningModel running,
      CollapsePlan.Source planSource,
      PackedSequences calibration,
      SweepOptions options) {
    backend = running.backend();
    ModelConfig config = running.config();
    TensorSource source = running.weights();
    noise = new BatchNoise(backend);
    objective = options.objective();
    passCost = options.passCost();
    original = CollapsePlan.identity(planSource);
    layers = running.candidates(original);
    // The first weights are read while buffers are allocated.
    source.prefetch(List.of(config.architecture().embedding()));
    layers.prefetch(0);
    long tokens = calibration.size();
    SweepBuffers buffers =
        SweepBuffers.within(options.bytes(), config, tokens, options.candidates());
    candidates = buffers.candidates();
    arena = backend.arena();
    work = new Workspace(backend, config, buffers.copies() * tokens);
    model = new CausalLm(running, layers);
    batches = new RepeatedBatches(model, calibration, buffers.copies());
    cache = new PrefixCache(backend, original, buffers.cached(), tokens, config.hiddenSize());
    meter = new WorkMeter(config, source, calibration, headProducts(objective));
    reference = arena.allocate(DType.F32, tokens, config.hiddenSize());
    states = arena.allocate(DType.F32, candidates * tokens, config.hiddenSize());
    sweep = new Sweep(backend, model, layers, batches, cache, work, states, meter);
    sweep.run(List.of(original));
    model.finalNorm(states.slice(0, tokens), reference);
  }

  /** Bytes of buffers for a calibration set of {@code tokens} tokens. */
  public static long bytes(ModelConfig config, long tokens, SweepOptions options) {
    return SweepBuffers.within(options.bytes(), config, tokens, options.candidates())
        .bytes(config, tokens);
  }

  @Override
  public List<Score> score(List<CollapsePlan> plans) {
    if (plans.stream().anyMatch(plan -> plan.tensors() != null)) {
      throw new IllegalArgumentException("plans with new tensors are not scored");
    }
    Set<CollapsePlan> changed = new LinkedHashSet<>(plans);
    changed.remove(original);
    List<CollapsePlan> order = bySuffix(changed);
    Map<CollapsePlan, Score> scores = new HashMap<>();
    for (int from = 0; from < order.size(); from += candidates) {
      pass(order.subList(from, Math.min(from + candidates, order.size())), scores);
    }
    if (plans.contains(original)) {
      scores.put(original, scores(reference).getFirst());
    }
    return plans.stream().map(scores::get).toList();
  }

  /**
   * Sorts plans by their last layers, so that plans with the same last layers get neighbouring
   * slots and run these layers as one batch.
   */
  private static List<CollapsePlan> bySuffix(Set<CollapsePlan> plans) {
    Map<LayerMix, Integer> numbers = new HashMap<>();
    Map<CollapsePlan, int[]> keys = new HashMap<>();
    for (CollapsePlan plan : plans) {
      int[] key = new int[plan.depth()];
      for (int i = 0; i < key.length; i++) {
        key[i] =
            numbers.computeIfAbsent(plan.layers().get(key.length - 1 - i), mix -> numbers.size());
      }
      keys.put(plan, key);
    }
    List<CollapsePlan> order = new ArrayList<>(plans);
    order.sort(Comparator.comparing(keys::get, Arrays::compare));
    return order;
  }

  private void pass(List<CollapsePlan> plans, Map<CollapsePlan, Score> scores) {
    sweep.run(plans);
    Tensor last = states.slice(0, (long) plans.size() * batches.tokens());
    model.finalNorm(last, last);
    List<Score> found = scores(last);
    model.release();
    noise.ran(plans, found);
    for (int i = 0; i < plans.size(); i++) {
      scores.put(plans.get(i), found.get(i));
      meter.decided(plans.get(i));
    }
  }

  /** Scores of K candidates from their last hidden states, {@code [K T, d]}. */
  private List<Score> scores(Tensor last) {
    double[] cosines = backend.cosine(reference, last, batches.of(1));
    int sentences = batches.of(1).sequences().sequences();
    int count = cosines.length / sentences;
    List<Score.Language> languages = objective.needsLanguage() ? languages(last, count) : null;
    List<Score> scores = new ArrayList<>();
    for (int i = 0; i < count; i++) {
      List<Double> similarities =
          Arrays.stream(cosines, i * sentences, (i + 1) * sentences).boxed().toList();
      scores.add(new Score(similarities, languages == null ? null : languages.get(i)));
    }
    return scores;
  }

  /**
   * Products with the head for each candidate: one for the likelihood, one for the divergence. The
   * original's, once a pass, are not counted.
   */
  private static int headProducts(Objective objective) {
    return switch (objective) {
      case COSINE -> 0;
      case NLL -> 1;
      case KL -> 2;
    };
  }

  /**
   * The next-token parts of the scores of K candidates, from their last states {@code [K T, d]}.
   */
  private List<Score.Language> languages(Tensor last, int count) {
    TokenBatch batch = batches.of(1);
    meter.comparedTokens(count);
    double[] nll = ModelScore.nlls(model, last, batch);
    double[] kl = objective == Objective.KL ? ModelScore.kls(model, reference, last, batch) : null;
    return IntStream.range(0, count)
        .mapToObj(i -> new Score.Language(nll[i], kl == null ? null : kl[i]))
        .toList();
  }

  @Override
  public void keep(List<CollapsePlan> plans) {
    cache.keep(plans);
  }

  @Override
  public void accepted(CollapsePlan plan) {
    layers.keep(plan);
  }

  @Override
  public Score scoreAlone(CollapsePlan plan) {
    Score score = score(List.of(plan)).getFirst();
    if (!plan.isIdentity()) {
      meter.rescored();
    }
    return score;
  }

  @Override
  public void dropped(List<CollapsePlan> plans) {
    plans.forEach(meter::dropped);
  }

  @Override
  public double noise() {
    return batches.most() == 1 ? 0 : noise.bound(plan -> scoreAlone(plan).mean());
  }

  @Override
  public double passCost() {
    return passCost;
  }

  @Override
  public int sweeps() {
    return meter.passes();
  }

  @Override
  public Work work() {
    return meter.work(original);
  }

  @Override
  public void close() {
    cache.close();
    batches.close();
    layers.close();
    work.close();
    arena.close();
  }
}
