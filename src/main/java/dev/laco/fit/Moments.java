package dev.laco.fit;

import dev.laco.backend.Backend;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.model.DType;
import java.util.ArrayList;
import java.util.List;

/**
 * What least squares needs to know of features and of what is to be made of them, gathered block by
 * block on the device in f32: {@code G = sum_t a_t a_t^T} of the features and, for each of several
 * targets, {@code C = sum_t h_t a_t^T}. Kept for all blocks, and for those that are held out alone.
 */
final class Moments implements AutoCloseable {
  private final Backend backend;
  private final TensorArena arena;
  private final long inputs;
  private final long outputs;
  private final Tensor gram;
  private final Tensor heldOutGram;
  private final List<Target> targets = new ArrayList<>();

  /**
   * One target.
   *
   * @param cross {@code C [outputs, inputs]}
   * @param heldOut the same of blocks held out
   * @param squares sums of squares of the target's columns there
   */
  record Target(Tensor cross, Tensor heldOut, Tensor squares) {}

  /** Zeros, for {@code count} targets of {@code outputs} columns. */
  Moments(Backend backend, long inputs, long outputs, int count) {
    this.backend = backend;
    this.inputs = inputs;
    this.outputs = outputs;
    arena = backend.arena();
    gram = arena.allocate(DType.F32, inputs, inputs);
    heldOutGram = arena.allocate(DType.F32, inputs, inputs);
    for (int i = 0; i < count; i++) {
      targets.add(
          new Target(
              arena.allocate(DType.F32, outputs, inputs),
              arena.allocate(DType.F32, outputs, inputs),
              arena.allocate(DType.F32, 1, outputs)));
    }
  }

  /** Bytes that they take. */
  static long bytes(long inputs, long outputs, int count) {
    return 2 * inputs * (inputs + outputs * count) * DType.F32.byteSize();
  }

  long inputs() {
    return inputs;
  }

  long outputs() {
    return outputs;
  }

  /** Adds a block's features and its one target. */
  void add(Streams.Samples samples, boolean heldOut) {
    addFeatures(samples.features(), heldOut);
    addTarget(0, samples, heldOut);
  }

  /** Forgets all that was not held out. */
  void keepHeldOut() {
    backend.copy(heldOutGram, gram);
    targets.forEach(target -> backend.copy(target.heldOut, target.cross));
  }

  /** Adds the features of a block, {@code [T, inputs]}, each row scaled by its weight's root. */
  void addFeatures(Tensor features, boolean heldOut) {
    backend.crossProduct(features, features, gram);
    if (heldOut) {
      backend.crossProduct(features, features, heldOutGram);
    }
  }

  /** Adds a target of a block, {@code [T, outputs]}, scaled likewise. */
  void addTarget(int index, Streams.Samples samples, boolean heldOut) {
    Target to = targets.get(index);
    backend.crossProduct(samples.target(), samples.features(), to.cross);
    if (heldOut) {
      backend.crossProduct(samples.target(), samples.features(), to.heldOut);
      backend.addSquares(samples.target(), to.squares);
    }
  }

  Tensor gram() {
    return gram;
  }

  Tensor heldOutGram() {
    return heldOutGram;
  }

  Target target(int index) {
    return targets.get(index);
  }

  @Override
  public void close() {
    arena.close();
  }
}
