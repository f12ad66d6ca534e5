package dev.laco.transformer;

import dev.laco.backend.DeviceMemory;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.model.DType;
import dev.laco.model.ModelConfig;

/** The device buffers of a forward pass over batches of at most {@code maxTokens} tokens. */
public final class Workspace implements AutoCloseable {
  private final TensorArena arena;
  private final Buffers full;
  private Buffers current;

  /** Allocates buffers for batches of up to {@code maxTokens} tokens. */
  public Workspace(DeviceMemory backend, ModelConfig config, long maxTokens) {
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

  /** Bytes that the buffers of {@code maxTokens} tokens need. */
  public static long bytes(ModelConfig config, long maxTokens) {
    long heads = 2L * config.numAttentionHeads() + 2L * config.numKeyValueHeads();
    long columns = config.hiddenSize() + heads * config.headDim() + 2L * config.intermediateSize();
    return maxTokens * columns * DType.F32.byteSize();
  }

  /** The first {@code tokens} rows of every buffer. */
  public Buffers forTokens(long tokens) {
    if (current.tokens() != tokens) {
      current = full.rows(tokens);
    }
    return current;
  }

  @Override
  public void close() {
    arena.close();
  }

  /**
   * The buffers that the steps of a {@link DecoderLayer} fill, one row per token. Only the steps
   * see the memory itself; everybody else is given what a step has filled, under the name of what
   * it holds.
   */
  public static final class Buffers {
    final Tensor hidden;
    final Tensor query;
    final Tensor key;
    final Tensor value;
    final Tensor heads;
    final Tensor gate;
    final Tensor up;
    final DecoderLayer.Normed normed;
    final DecoderLayer.Attended attended;
    final DecoderLayer.Projected projected;
    final DecoderLayer.Channels channels;
    final DecoderLayer.Slopes slopes;

    private Buffers(
        Tensor hidden,
        Tensor query,
        Tensor key,
        Tensor value,
        Tensor heads,
        Tensor gate,
        Tensor up) {
      this.hidden = hidden;
      this.query = query;
      this.key = key;
      this.value = value;
      this.heads = heads;
      this.gate = gate;
      this.up = up;
      normed = new DecoderLayer.Normed(hidden);
      attended = new DecoderLayer.Attended(heads);
      projected = new DecoderLayer.Projected(hidden);
      channels = new DecoderLayer.Channels(gate);
      slopes = new DecoderLayer.Slopes(normed, gate, up);
    }

    private long tokens() {
      return hidden.rows();
    }

    private Buffers rows(long tokens) {
      return new Buffers(
          hidden.slice(0, tokens),
          query.slice(0, tokens),
          key.slice(0, tokens),
          value.slice(0, tokens),
          heads.slice(0, tokens),
          gate.slice(0, tokens),
          up.slice(0, tokens));
    }
  }
}
