package dev.laco.scoring;

import dev.laco.model.DType;
import dev.laco.model.ModelConfig;
import dev.laco.transformer.Workspace;

/**
 * How a scorer divides its memory.
 *
 * @param candidates number of plans that run in one pass
 * @param copies number of candidates that run as one batch
 * @param cached number of hidden states {@code [T, d]} that are cached between passes
 */
record SweepBuffers(int candidates, int copies, int cached) {
  /** Rows of a batch from which on a matrix product takes no less time per row. */
  private static final long BATCH_ROWS = 4096;

  /**
   * Divides {@code bytes}. One candidate gets its memory in any case; of the rest, further
   * candidates get at most half until the original's hidden states all fit into the cache.
   */
  static SweepBuffers within(long bytes, ModelConfig config, long tokens, int candidates) {
    long state = state(config, tokens);
    int original = config.numHiddenLayers() - 1;
    long least = bytes(config, tokens, 1);
    long free = Math.max(0, bytes - least);
    long forCandidates = least + free - Math.min(free / 2, original * state);
    int side = candidates;
    while (side > 1 && bytes(config, tokens, side) > forCandidates) {
      side--;
    }
    long rest = Math.max(0, bytes - bytes(config, tokens, side));
    // Room for the original's states and as many of plans that are kept beside it.
    int cached = (int) Math.min((side == 1 ? 1L : 2L) * original, rest / state);
    return new SweepBuffers(side, copies(tokens, side), cached);
  }

  private static int copies(long tokens, int candidates) {
    return Math.clamp(BATCH_ROWS / tokens, 1, candidates);
  }

  /** Bytes of the states of so many candidates, the reference, and what runs them. */
  private static long bytes(ModelConfig config, long tokens, int candidates) {
    long batches = 0;
    int copies = copies(tokens, candidates);
    for (int copy = 1; copy <= copies; copy++) {
      batches += copy * tokens * batchRow(config);
    }
    return (candidates + 1L) * state(config, tokens)
        + Workspace.bytes(config, copies * tokens)
        + batches;
  }

  private static long state(ModelConfig config, long tokens) {
    return tokens * config.hiddenSize() * DType.F32.byteSize();
  }

  /** Bytes of a token of a batch: its id, target, and rotary angles. */
  private static long batchRow(ModelConfig config) {
    return 8L + 4L * config.headDim();
  }

  /** Bytes of all buffers. */
  long bytes(ModelConfig config, long tokens) {
    return bytes(config, tokens, candidates) + cached * state(config, tokens);
  }
}
