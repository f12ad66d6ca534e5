package dev.laco.fit;

import dev.laco.backend.Backend;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.collapse.BlockSettings.Block;
import dev.laco.model.DType;
import dev.laco.model.ModelConfig;
import dev.laco.transformer.CausalLm;
import dev.laco.transformer.NextTokens;
import dev.laco.transformer.Workspace;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.function.DoubleSupplier;

/**
 * How far the original's predictions of a text move, by runs: the longest block that ends in front
 * of a layer is removed, and the divergence, relative to the unexplained share, is the price of all
 * blocks that end there. Divergences of several runs are measured together, so that the original's
 * logits are computed once for all of them.
 */
final class PredictionRuns implements Predictions {
  /** Runs whose divergences are measured together, at most. */
  static final int TOGETHER = 8;

  private final CausalLm model;
  private final List<FitBlocks.Block> blocks;
  private final Workspace work;
  private final TensorArena arena;

  /** The original's last hidden states, after the final norm, {@code [T, d]}. */
  private final Tensor predictions;

  /** Those of the runs that wait, {@code [8 T, d]}: for each block of tokens run after run. */
  private final Tensor moved;

  /**
   * A run whose divergence is not measured yet.
   *
   * @param layer in front of which hidden states were lost
   * @param unexplained the share of them that was lost
   */
  private record Run(int layer, double unexplained) {}

  /** At most {@link #TOGETHER}. */
  private final List<Run> waiting = new ArrayList<>();

  private final List<Float> scales = new ArrayList<>();

  /** By layer: nats of divergence for each unit of the unexplained share in front of it. */
  private final Map<Integer, Double> prices = new HashMap<>();

  /**
   * Allocates memory.
   *
   * @param blocks of the text, in consecutive rows
   */
  PredictionRuns(CausalLm model, List<FitBlocks.Block> blocks) {
    this.model = model;
    this.blocks = blocks;
    Backend backend = model.backend();
    ModelConfig config = model.config();
    work = new Workspace(backend, config, FitBlocks.most(blocks));
    arena = backend.arena();
    long tokens = FitBlocks.tokens(blocks);
    predictions = arena.allocate(DType.F32, tokens, config.hiddenSize());
    moved = arena.allocate(DType.F32, TOGETHER * tokens, config.hiddenSize());
  }

  /** Bytes of memory for a text of so many tokens. */
  static long bytes(ModelConfig config, long tokens) {
    return Workspace.bytes(config, tokens)
        + (1 + TOGETHER) * tokens * config.hiddenSize() * DType.F32.byteSize();
  }

  @Override
  public void compute(int least) {
    for (FitBlocks.Block block : blocks) {
      model.embed(block.batch(), rows(predictions, block));
    }
    for (int index = 0; index < model.depth(); index++) {
      scales.add(Values.medianInverseRms(model.backend(), predictions));
      for (FitBlocks.Block block : blocks) {
        model.layer(index, rows(predictions, block), block.batch(), work, null);
      }
    }
    scales.add(Values.medianInverseRms(model.backend(), predictions));
    for (FitBlocks.Block block : blocks) {
      model.finalNorm(rows(predictions, block), rows(predictions, block));
    }
    model.release();
  }

  @Override
  public float scale(int index) {
    return scales.get(index);
  }

  @Override
  public DoubleSupplier divergence(
      Block removed, Tensor change, Tensor states, double unexplained) {
    int layer = removed.to();
    if (unexplained == 0) {
      // Layers that add nothing cost nothing.
      prices.putIfAbsent(layer, 0.0);
    } else if (!prices.containsKey(layer)
        && waiting.stream().noneMatch(run -> run.layer == layer)) {
      model.backend().add(change, states);
      run(layer, change);
      waiting.add(new Run(layer, unexplained));
      if (waiting.size() == TOGETHER) {
        measure();
      }
    }
    return () -> {
      measure();
      return unexplained * Objects.requireNonNull(prices.get(layer));
    };
  }

  /**
   * Runs the layers from {@code layer} on.
   *
   * @param states in front of them, {@code [T, d]}
   */
  private void run(int layer, Tensor states) {
    for (FitBlocks.Block block : blocks) {
      Tensor out =
          moved(block)
              .slice(
                  (long) waiting.size() * block.tokens(), (waiting.size() + 1L) * block.tokens());
      model.finish(layer, rows(states, block), block.batch(), work, out);
    }
  }

  /** Measures the runs that wait: the mean divergences from the original's predictions. */
  private void measure() {
    if (waiting.isEmpty()) {
      return;
    }
    double[] sums = new double[waiting.size()];
    for (FitBlocks.Block block : blocks) {
      int tokens = block.tokens();
      Tensor runs = moved(block).slice(0, (long) sums.length * tokens);
      double[] byRow = NextTokens.kl(model, rows(predictions, block), runs, block.batch());
      for (int i = 0; i < sums.length; i++) {
        sums[i] += Arrays.stream(byRow, i * tokens, (i + 1) * tokens).sum();
      }
    }
    for (int i = 0; i < sums.length; i++) {
      Run run = waiting.get(i);
      prices.put(run.layer, sums[i] / predictions.rows() / run.unexplained);
    }
    waiting.clear();
  }

  /** The rows of {@link #moved} for a block of tokens. */
  private Tensor moved(FitBlocks.Block block) {
    long first = blocks.getFirst().from();
    return moved.slice(TOGETHER * (block.from() - first), TOGETHER * (block.to() - first));
  }

  private Tensor rows(Tensor all, FitBlocks.Block block) {
    return block.rows(all, blocks.getFirst());
  }

  @Override
  public void close() {
    work.close();
    arena.close();
  }
}
