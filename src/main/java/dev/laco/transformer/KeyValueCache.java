package dev.laco.transformer;

import dev.laco.backend.Backend;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.model.DType;
import dev.laco.model.ModelConfig;
import java.util.ArrayList;
import java.util.List;

/** Keys and values of the tokens of one sequence so far, for every layer. */
public final class KeyValueCache implements AutoCloseable {
  private final TensorArena arena;
  private final List<Tensor> keys = new ArrayList<>();
  private final List<Tensor> values = new ArrayList<>();
  private int length;

  /** Room for {@code capacity} tokens in {@code depth} layers. */
  public KeyValueCache(Backend backend, ModelConfig config, int depth, int capacity) {
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

  /** Tokens held. */
  public int length() {
    return length;
  }

  /** The rows for the next {@code tokens} keys of a layer. */
  Tensor newKeys(int layer, long tokens) {
    return keys.get(layer).slice(length, length + tokens);
  }

  Tensor newValues(int layer, long tokens) {
    return values.get(layer).slice(length, length + tokens);
  }

  /** All keys of a layer, the next {@code tokens} included. */
  Tensor allKeys(int layer, long tokens) {
    return keys.get(layer).slice(0, length + tokens);
  }

  Tensor allValues(int layer, long tokens) {
    return values.get(layer).slice(0, length + tokens);
  }

  /** Says that every layer has written its next {@code tokens} rows. */
  public void advance(int tokens) {
    length += tokens;
  }

  @Override
  public void close() {
    arena.close();
  }
}
