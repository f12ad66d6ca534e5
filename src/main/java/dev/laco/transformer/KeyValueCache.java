package dev.laco.transformer;

import dev.laco.backend.DeviceMemory;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.model.DType;
import dev.laco.model.ModelConfig;
import java.util.ArrayList;
import java.util.List;

/** The keys and values of one sequence's earlier tokens, for every layer. */
public final class KeyValueCache implements AutoCloseable {
  private final TensorArena arena;
  private final List<Tensor> keys = new ArrayList<>();
  private final List<Tensor> values = new ArrayList<>();
  private int length;

  /** Allocates memory for {@code capacity} tokens in {@code depth} layers. */
  public KeyValueCache(DeviceMemory backend, ModelConfig config, int depth, int capacity) {
    arena = backend.arena();
    long width = (long) config.numKeyValueHeads() * config.headDim();
    for (int layer = 0; layer < depth; layer++) {
      keys.add(arena.allocate(DType.F32, capacity, width));
      values.add(arena.allocate(DType.F32, capacity, width));
    }
  }

  /** Bytes of a cache for {@code capacity} tokens in every layer of a model. */
  public static long bytes(ModelConfig config, long capacity) {
    long width = (long) config.numKeyValueHeads() * config.headDim();
    return 2L * config.numHiddenLayers() * capacity * width * DType.F32.byteSize();
  }

  /** Number of tokens whose keys and values the cache holds. */
  public int length() {
    return length;
  }

  /** The keys and values of a layer, with memory for the rows of the next {@code tokens} tokens. */
  KeyValues of(int layer, long tokens) {
    long end = length + tokens;
    return new KeyValues(
        keys.get(layer).slice(length, end),
        values.get(layer).slice(length, end),
        keys.get(layer).slice(0, end),
        values.get(layer).slice(0, end));
  }

  /** Must be called when every layer has written its next {@code tokens} rows. */
  public void advance(int tokens) {
    length += tokens;
  }

  @Override
  public void close() {
    arena.close();
  }
}
