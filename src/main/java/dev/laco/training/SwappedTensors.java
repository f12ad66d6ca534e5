package dev.laco.training;

import dev.laco.backend.Tensor;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/** Tensors of layers in a file, of which those of one layer at a time are in a device's memory. */
final class SwappedTensors {
  private static final int NONE = -1;

  private final SwapFile file;
  private final Map<Integer, List<Swapped>> layers = new HashMap<>();
  private int current = NONE;
  private boolean changed;

  /**
   * A tensor of a layer.
   *
   * @param room where its values are while its layer is used; other layers have theirs there, too
   * @param offset in the file
   */
  private record Swapped(Tensor room, long offset) {}

  SwappedTensors(SwapFile file) {
    this.file = file;
  }

  /** Adds a tensor of zeros to a layer that was not used yet. */
  void add(int layer, Tensor room) {
    layers
        .computeIfAbsent(layer, absent -> new ArrayList<>())
        .add(new Swapped(room, file.place(room)));
  }

  /**
   * Brings in the tensors of a layer.
   *
   * @param changes whether their values will change before the next call
   */
  void use(int layer, boolean changes) {
    if (layer != current) {
      if (changed) {
        tensors(current).forEach(tensor -> file.write(tensor.room, tensor.offset));
      }
      tensors(layer).forEach(tensor -> file.read(tensor.offset, tensor.room));
      current = layer;
      changed = false;
    }
    changed |= changes;
  }

  private List<Swapped> tensors(int layer) {
    return layers.getOrDefault(layer, List.of());
  }
}
