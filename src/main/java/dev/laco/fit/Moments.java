package dev.laco.fit;

import dev.laco.backend.SolvingOps;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.model.DType;
import java.util.ArrayList;
import java.util.List;

/**
 * The second moments of a least-squares problem, summed block by block on the device in f32: {@code
 * G = sum_t a_t a_t^T} of the features and, for each of several targets, {@code C = sum_t h_t
 * a_t^T}. There is a sum over all blocks and a second one over the blocks held out.
 */
final class Moments implements AutoCloseable {
  private final SolvingOps backend;
  private final TensorArena arena;
  private final long inputs;
  private final long outputs;
  private final Tensor gram;
  private final Tensor heldOutGram;
  private final List<Target> targets = new ArrayList<>();

  /**
   * The moments of one target.
   *
   * @param cross {@code C [outputs, inputs]} of all blocks
   * @param heldOut {@code C} of the blocks held out
   * @param squares sums of squares of the target's columns in the blocks held out, {@code [1,
   *     outputs]}
   */
  record Target(Tensor cross, Tensor heldOut, Tensor squares) {}

  /** Starts all sums at zero, for {@code count} targets of {@code outputs} columns each. */
  Moments(SolvingOps backend, long inputs, long outputs, int count) {
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

  /** Bytes that the sums take. */
  static long bytes(long inputs, long outputs, int count) {
    return 2 * inputs * (inputs + outputs * count) * DType.F32.byteSize();
  }

  long inputs() {
    return inputs;
  }

  long outputs() {
    return outputs;
  }

  /** Adds a block of a problem with one target. */
  void add(Streams.Samples samples, boolean heldOut) {
    addFeatures(samples.features(), heldOut);
    addTarget(0, samples, heldOut);
  }

  /** Restarts the sums over all blocks with the blocks held out alone. */
  void keepHeldOut() {
    backend.copy(heldOutGram, gram);
    targets.forEach(target -> backend.copy(target.heldOut, target.cross));
  }

  /** Adds the features of a block, {@code [T, inputs]}. */
  void addFeatures(Tensor features, boolean heldOut) {
    backend.addGram(features, gram);
    if (heldOut) {
      backend.crossProduct(features, features, heldOutGram);
    }
  }

  /** Adds one target of a block whose features were added. */
  void addTarget(int index, Streams.Samples samples, boolean heldOut) {
    Target to = targets.get(index);
    backend.crossProduct(samples.target(), samples.features(), to.cross);
    if (heldOut) {
      backend.crossProduct(samples.target(), samples.features(), to.heldOut);
      backend.addSquares(samples.target(), to.squares);
    }
  }

  /** {@code G} of all blocks; what is above the diagonal is undefined. */
  Tensor gram() {
    return gram;
  }

  /** {@code G} of the blocks held out, all of it. */
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
