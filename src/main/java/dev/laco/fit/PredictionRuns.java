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
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * How far the original's predictions of a text move, by runs: the longest block that ends in front
 * of a layer is removed, and the divergence, relative to the unexplained share, is the price of all
 * blocks that end there.
 */
final class PredictionRuns implements Predictions {
  private final CausalLm model;
  private final List<FitBlocks.Block> blocks;
  private final Workspace work;
  private final TensorArena arena;

  /** The original's last hidden states, after the final norm, {@code [T, d]}. */
  private final Tensor predictions;

  /** Those of a run, of one block of tokens. */
  private final Tensor moved;

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
    int largest = FitBlocks.most(blocks);
    work = new Workspace(backend, config, largest);
    arena = backend.arena();
    predictions = arena.allocate(DType.F32, FitBlocks.tokens(blocks), config.hiddenSize());
    moved = arena.allocate(DType.F32, largest, config.hiddenSize());
  }

  /** Bytes of memory for a text of so many tokens. */
  static long bytes(ModelConfig config, long tokens) {
    return Workspace.bytes(config, tokens)
        + 2 * tokens * config.hiddenSize() * DType.F32.byteSize();
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
  public double divergence(Block removed, Tensor change, Tensor states, double unexplained) {
    Double price = prices.get(removed.to());
    if (price == null) {
      model.backend().add(change, states);
      // Layers that add nothing cost nothing.
      price = unexplained == 0 ? 0 : moved(removed.to(), change) / unexplained;
      prices.put(removed.to(), price);
    }
    return unexplained * price;
  }

  /**
   * The mean divergence from the original's predictions, nats a token.
   *
   * @param index of a layer
   * @param states in front of it, {@code [T, d]}, which are lost
   */
  private double moved(int index, Tensor states) {
    double divergence = 0;
    for (FitBlocks.Block block : blocks) {
      Tensor out = moved.slice(0, block.tokens());
      model.finish(index, rows(states, block), block.batch(), work, out);
      for (double kl : NextTokens.kl(model, rows(predictions, block), out, block.batch())) {
        divergence += kl;
      }
    }
    return divergence / states.rows();
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
