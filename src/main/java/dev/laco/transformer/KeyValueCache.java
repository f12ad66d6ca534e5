package dev.laco.transformer;

import dev.laco.backend.Device;
import dev.laco.backend.DeviceMemory;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.model.DType;
import dev.laco.model.LayerAttention;
import dev.laco.model.ModelConfig;
import dev.laco.model.PackedSequences;
import dev.laco.model.TokenMixer;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * The keys and values of earlier tokens of several sequences, for every layer, and their states in
 * the layers without a softmax. Each sequence has a slot, which is memory for the same number of
 * tokens.
 */
public final class KeyValueCache implements AutoCloseable {
  private final TensorArena arena;
  private final @Nullable Layer[] layers;
  private final @Nullable MixerStates[] states;
  private final int[] lengths;
  private final int capacity;
  private final long width;
  private final ModelConfig config;

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
    this.states = new MixerStates[depth];
    this.lengths = new int[slots];
    this.capacity = capacity;
    this.width = width(config);
    this.config = config;
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
   * Bytes of a token in every layer of a model that keeps keys and values.
   *
   * @param type of keys and values
   */
  public static long tokenBytes(ModelConfig config, DType type) {
    long layers = config.attention().stream().filter(LayerAttention::hasSoftmax).count();
    return 2L * layers * width(config) * type.byteSize();
  }

  /**
   * Bytes of a slot for {@code capacity} tokens.
   *
   * @param type of keys and values
   */
  public static long slotBytes(ModelConfig config, DType type, long capacity) {
    long states =
        config.attention().stream()
            .mapToLong(layer -> MixerStates.elements(config, layer.mixer()))
            .sum();
    return capacity * tokenBytes(config, type) + states * DType.F32.byteSize();
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
   * What the cache has of a layer.
   *
   * @param layer its index
   */
  record OfLayer(KeyValueCache cache, int layer) {
    /**
     * The keys and values of the layer for a batch, whose new ones are written to {@code buffers}.
     *
     * @param type of the layer's keys and values, the same in every call
     */
    KeyValues keyValues(DType type, PackedSequences batch, Workspace.Buffers buffers) {
      int rows = batch.keyOffsets()[batch.sequences()];
      Layer all = cache.layer(layer, type);
      return new KeyValues(
          buffers.keys(type),
          buffers.values(type),
          all.keys.slice(0, rows),
          all.values.slice(0, rows),
          false);
    }

    /** The states of the layer, which has no softmax. */
    MixerStates states(TokenMixer mixer) {
      MixerStates own = cache.states[layer];
      if (own == null) {
        own =
            MixerStates.of(cache.arena, cache.config, mixer, cache.lengths.length, cache.capacity);
        cache.states[layer] = own;
      }
      return own;
    }
  }

  /** What the cache has of a layer. */
  OfLayer of(int layer) {
    return new OfLayer(this, layer);
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
