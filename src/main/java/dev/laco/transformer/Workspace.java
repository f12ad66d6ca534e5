package dev.laco.transformer;

import dev.laco.backend.Backend;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.model.DType;
import dev.laco.model.ModelConfig;

/** The buffers of a forward pass over at most so many tokens, planned once. */
public final class Workspace implements AutoCloseable {
  private final TensorArena arena;
  private final Buffers full;
  private Buffers current;

  /** Buffers for batches of up to {@code maxTokens} tokens. */
  public Workspace(Backend backend, ModelConfig config, long maxTokens) {
    arena = backend.arena();
    long queries = (long) config.numAttentionHeads() * config.headDim();
    long keys = (long) config.numKeyValueHeads() * config.headDim();
    full =
        new Buffers(
            arena.allocate(DType.F32, maxTokens, config.hiddenSize()),
            arena.allocate(DType.F32, maxTokens, queries),
            arena.allocate(DType.F32, maxTokens, keys),
            arena.allocate(DType.F32, maxTokens, keys),
            arena.allocate(DType.F32, maxTokens, queries),
            arena.allocate(DType.F32, maxTokens, config.intermediateSize()),
            arena.allocate(DType.F32, maxTokens, config.intermediateSize()));
    current = full;
  }

  /** Bytes that {@code maxTokens} tokens need. */
  public static long bytes(ModelConfig config, long maxTokens) {
    long heads = 2L * config.numAttentionHeads() + 2L * config.numKeyValueHeads();
    long columns = config.hiddenSize() + heads * config.headDim() + 2L * config.intermediateSize();
    return maxTokens * columns * DType.F32.byteSize();
  }

  /** The buffers, cut to {@code tokens} rows. */
  public Buffers forTokens(long tokens) {
    if (current.normed().rows() != tokens) {
      current = full.rows(tokens);
    }
    return current;
  }

  @Override
  public void close() {
    arena.close();
  }

  /** One row per token each; {@code gate} and {@code up} have a column per channel. */
  public record Buffers(
      Tensor normed,
      Tensor query,
      Tensor key,
      Tensor value,
      Tensor attended,
      Tensor gate,
      Tensor up) {
    Buffers rows(long tokens) {
      return new Buffers(
          normed.slice(0, tokens),
          query.slice(0, tokens),
          key.slice(0, tokens),
          value.slice(0, tokens),
          attended.slice(0, tokens),
          gate.slice(0, tokens),
          up.slice(0, tokens));
    }
  }
}
