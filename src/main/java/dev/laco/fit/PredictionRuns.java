package dev.laco.fit;

import dev.laco.backend.Backend;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.model.DType;
import dev.laco.model.ModelConfig;
import dev.laco.transformer.CausalLm;
import dev.laco.transformer.NextTokens;
import dev.laco.transformer.Workspace;
import java.util.List;

/**
 * How far the original's predictions of a text move when its hidden states in front of a layer
 * change, by runs of the layers behind.
 */
final class PredictionRuns implements AutoCloseable {
  private final CausalLm model;
  private final List<FitBlocks.Block> blocks;
  private final int first;
  private final Workspace work;
  private final TensorArena arena;

  /** The original's last hidden states, after the final norm, {@code [T, d]}. */
  private final Tensor predictions;

  /** Those of a run, of one block of tokens. */
  private final Tensor moved;

  /**
   * Allocates memory.
   *
   * @param blocks of the text, in consecutive rows
   */
  PredictionRuns(CausalLm model, List<FitBlocks.Block> blocks) {
    this.model = model;
    this.blocks = blocks;
    first = blocks.getFirst().from();
    Backend backend = model.backend();
    ModelConfig config = model.config();
    int largest = blocks.stream().mapToInt(FitBlocks.Block::tokens).max().orElseThrow();
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

  /** Runs the original over the text. */
  void compute() {
    for (FitBlocks.Block block : blocks) {
      model.run(block.batch(), rows(predictions, block), work);
    }
  }

  /**
   * The divergence from the original's predictions, nats: the sum over all tokens.
   *
   * @param index of a layer
   * @param states in front of it, {@code [T, d]}, which are lost
   */
  double divergence(int index, Tensor states) {
    double divergence = 0;
    for (FitBlocks.Block block : blocks) {
      Tensor out = moved.slice(0, block.tokens());
      model.finish(index, rows(states, block), block.batch(), work, out);
      for (double kl : NextTokens.kl(model, rows(predictions, block), out, block.batch())) {
        divergence += kl;
      }
    }
    return divergence;
  }

  private Tensor rows(Tensor all, FitBlocks.Block block) {
    return all.slice(block.from() - first, block.to() - first);
  }

  @Override
  public void close() {
    work.close();
    arena.close();
  }
}
