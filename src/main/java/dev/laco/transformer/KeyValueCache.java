package dev.laco.transformer;

import dev.laco.backend.DeviceMemory;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.model.DType;
import dev.laco.model.ModelConfig;
import dev.laco.model.PackedSequences;
import java.util.ArrayList;
import java.util.List;

/**
 * The keys and values of earlier tokens of several sequences, for every layer. Each sequence has a
 * slot, which is memory for the same number of tokens.
 */
public final class KeyValueCache implements AutoCloseable {
  private final TensorArena arena;
  private final List<Tensor> keys = new ArrayList<>();
  private final List<Tensor> values = new ArrayList<>();
  private final int[] lengths;
  private final int capacity;

  /** Allocates {@code slots} slots for {@code capacity} tokens each in {@code depth} layers. */
  public KeyValueCache(
      DeviceMemory backend, ModelConfig config, int depth, int slots, int capacity) {
    this.arena = backend.arena();
    this.lengths = new int[slots];
    this.capacity = capacity;
    long rows = Math.multiplyExact(slots, capacity);
    long width = (long) config.numKeyValueHeads() * config.headDim();
    for (int layer = 0; layer < depth; layer++) {
      keys.add(arena.allocate(DType.F32, rows, width));
      values.add(arena.allocate(DType.F32, rows, width));
    }
  }

  /** Bytes of a cache for {@code tokens} tokens of all slots in every layer of a model. */
  public static long bytes(ModelConfig config, long tokens) {
    long width = (long) config.numKeyValueHeads() * config.headDim();
    return 2L * config.numHiddenLayers() * tokens * width * DType.F32.byteSize();
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

  /** The keys and values of a layer for a batch, whose new ones are written to {@code buffers}. */
  KeyValues of(int layer, PackedSequences batch, Workspace.Buffers buffers) {
    int rows = batch.keyOffsets()[batch.sequences()];
    return new KeyValues(
        buffers.key,
        buffers.value,
        keys.get(layer).slice(0, rows),
        values.get(layer).slice(0, rows),
        false);
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
