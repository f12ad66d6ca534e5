package dev.laco.fit;

import dev.laco.backend.Backend;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.model.DType;
import dev.laco.model.ModelConfig;
import dev.laco.text.FitText;
import dev.laco.transformer.CausalLm;
import dev.laco.transformer.NextTokens;
import dev.laco.transformer.RunningModel;
import dev.laco.transformer.Workspace;
import java.util.Arrays;
import java.util.List;

/**
 * Text on which pruned models are compared. Layers that a model has in common with the original,
 * from the first on, run once: their output is kept for the next model.
 */
final class HeldOutTokens implements AutoCloseable {
  private final CausalLm original;
  private final FitBlocks blocks;
  private final Workspace work;
  private final TensorArena arena;
  private final Tensor states;
  private final Tensor x;
  private final Tensor out;

  /** The layer of the original whose input {@link #states} holds; -1 before there are any. */
  private int layer = -1;

  HeldOutTokens(RunningModel model, List<FitText.Chunk> chunks) {
    original = model.original();
    blocks = new FitBlocks(original, List.of(), chunks);
    work = new Workspace(model.backend(), model.config(), blocks.widest());
    arena = model.backend().arena();
    int width = model.config().hiddenSize();
    states = arena.allocate(DType.F32, blocks.tokens(), width);
    x = arena.allocate(DType.F32, blocks.widest(), width);
    out = arena.allocate(DType.F32, blocks.widest(), width);
  }

  /** Bytes of the buffers for a text. */
  static long bytes(Backend backend, ModelConfig config, List<FitText.Chunk> chunks) {
    long tokens = FitText.tokens(chunks);
    long widest = Math.min(tokens, FitBlocks.widest(backend, config, chunks));
    return Workspace.bytes(config, widest)
        + (tokens + 2 * widest) * config.hiddenSize() * DType.F32.byteSize();
  }

  /**
   * Mean negative log-likelihood of a token that is not the first of its chunk, nats.
   *
   * @param shared how many layers from the first on are those of the original
   */
  double nll(CausalLm model, int shared) {
    start(shared);
    double sum = 0;
    int predicted = 0;
    for (FitBlocks.Block block : blocks.wide()) {
      Tensor rows = x.slice(0, block.tokens());
      Tensor last = out.slice(0, block.tokens());
      model.backend().copy(block.rows(states), rows);
      model.finish(layer, rows, block.batch(), work, last);
      sum += Arrays.stream(NextTokens.nll(model, last, block.batch())).sum();
      predicted += block.tokens() - block.batch().sequences().sequences();
      model.release();
    }
    return sum / predicted;
  }

  /** Sees to it that the states are inputs of a layer that the original and a model share. */
  private void start(int shared) {
    if (layer >= 0 && layer <= shared) {
      return;
    }
    for (FitBlocks.Block block : blocks.wide()) {
      original.embed(block.batch(), block.rows(states));
    }
    for (layer = 0; layer < shared; layer++) {
      for (FitBlocks.Block block : blocks.wide()) {
        Tensor rows = block.rows(states);
        original.layer(layer, rows, block.batch(), work, null);
      }
    }
    original.release();
  }

  @Override
  public void close() {
    arena.close();
    work.close();
    blocks.close();
  }
}
