package dev.laco.transformer;

import dev.laco.backend.Device;
import dev.laco.backend.DeviceMemory;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.model.DType;
import dev.laco.model.ModelConfig;
import dev.laco.model.PackedSequences;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * The keys and values of earlier tokens of several sequences, for every layer. Each sequence has a
 * slot, which is memory for the same number of tokens.
 */
public final class KeyValueCache implements AutoCloseable {
  private final TensorArena arena;
  private final @Nullable Layer[] layers;
  private final int[] lengths;
  private final int capacity;
  private final long width;

  /** The keys and values of a layer, {@code [slots * capacity, keyValueHeads * headDim]} each. */
  private record Layer(Tensor keys, Tensor values) {}

  /**
   * A cache of {@code slots} slots for {@code capacity} tokens each in {@code depth} layers. The
   * memory of a layer is allocated when the layer is run for the first time, whose weights say the
   * dtype of its keys and values.
   */
  public KeyValueCache(
      DeviceMemory backend, ModelConfig config, int depth, int slots, int capacity) {
    this.arena = backend.arena();
    this.layers = new Layer[depth];
    this.lengths = new int[slots];
    this.capacity = capacity;
    this.width = width(config);
  }

  private static long width(ModelConfig config) {
    return (long) config.numKeyValueHeads() * config.headDim();
  }

  /**
   * The dtype of keys and values of a model on a device.
   *
   * @param weights the dtype of the model's matrices
   */
  public static DType type(Device device, ModelConfig config, DType weights) {
    return device.keyValueType(device.productType(weights), config.headDim());
  }

  /**
   * Bytes of a cache for {@code tokens} tokens of all slots in every layer of a model.
   *
   * @param type of keys and values
   */
  public static long bytes(ModelConfig config, DType type, long tokens) {
    return 2L * config.numHiddenLayers() * tokens * width(config) * type.byteSize();
  }

  /**
   * The next tokens of some slots as a batch, whose keys and values {@link CausalLm#layer} adds to
   * those of the slots.
   *
   * @param slots ascending
   * @param next the tokens of each of these slots
   */
  public PackedSequences next(List<Integer> slots, List<int[]> next) {
    PackedSequences whole = PackedSequences.of(next);
    int[] past = new int[slots.size()];
    int[] rows = new int[slots.size() + 1];
    for (int s = 0; s < past.length; s++) {
      past[s] = lengths[slots.get(s)];
      rows[s] = slots.get(s) * capacity;
      rows[s + 1] = rows[s] + capacity;
    }
    return new PackedSequences(whole.tokens(), whole.offsets(), past, rows);
  }

  /**
   * The keys and values of a layer for a batch, whose new ones are written to {@code buffers}.
   *
   * @param type of the layer's keys and values, the same in every call
   */
  KeyValues of(int layer, DType type, PackedSequences batch, Workspace.Buffers buffers) {
    int rows = batch.keyOffsets()[batch.sequences()];
    Layer all = layer(layer, type);
    return new KeyValues(
        buffers.keys(type),
        buffers.values(type),
        all.keys.slice(0, rows),
        all.values.slice(0, rows),
        false);
  }

  private Layer layer(int index, DType type) {
    Layer layer = layers[index];
    if (layer == null) {
      long rows = Math.multiplyExact(lengths.length, capacity);
      layer = new Layer(arena.allocate(type, rows, width), arena.allocate(type, rows, width));
      layers[index] = layer;
    }
    return layer;
  }

  /** Must be called when every layer has written {@code tokens} rows of a slot. */
  public void advance(int slot, int tokens) {
    lengths[slot] += tokens;
  }

  /** Empties a slot. */
  public void clear(int slot) {
    lengths[slot] = 0;
  }

  @Override
  public void close() {
    arena.close();
  }
}
