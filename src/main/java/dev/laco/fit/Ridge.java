package dev.laco.fit;

import dev.laco.backend.Backend;
import dev.laco.backend.LinearSystem;
import dev.laco.backend.LinearSystem.Difference;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.backend.TensorMix;
import dev.laco.linalg.NotPositiveDefiniteException;
import dev.laco.model.DType;
import java.util.Arrays;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * Ridge regression of the change of a linear map: the {@code D [outputs, inputs]} that minimises
 * {@code sum_t |D a_t - h_t|^2 + sum_i r_i |D_i|^2} for features {@code a_t}, targets {@code h_t}
 * and columns {@code D_i}, which is {@code D^T = (G + diag(r))^-1 C^T} with {@code G} and {@code C}
 * of {@link Moments}. The penalty {@code r_i = lambda (G_ii + 0.01 tr(G) / inputs)} grows with the
 * size of the feature, so that it weighs what a change does to the output and not the size of its
 * coefficients. The caller gives lambda. The backend's {@link dev.laco.backend.LinearSolver} solves
 * the system in f64.
 */
final class Ridge implements AutoCloseable {
  /** Share of the mean second moment that is added to each feature's own in the penalty. */
  static final double FLOOR = 0.01;

  private final Backend backend;
  private final LinearSystem system;
  private final TensorArena arena;
  private final Tensor change;
  private final Tensor product;
  private final Tensor ones;

  /** Of each output two numbers, all of the first kind and then all of the second. */
  private final Tensor sums;

  /** Allocates buffers for problems of at most {@code inputs} features and {@code outputs}. */
  Ridge(Backend backend, long inputs, long outputs) {
    this.backend = backend;
    system = backend.solver().system(inputs, outputs);
    arena = backend.arena();
    change = arena.allocate(DType.F32, outputs * inputs, 1);
    product = arena.allocate(DType.F32, outputs * inputs, 1);
    sums = arena.allocate(DType.F32, 2 * outputs, 1);
    ones = arena.allocate(DType.F32, inputs, 1);
    float[] one = new float[Math.toIntExact(inputs)];
    Arrays.fill(one, 1);
    backend.upload(one, ones);
  }

  /** Bytes of buffers on the host and on the device together. */
  static long bytes(Backend backend, long inputs, long outputs) {
    return backend.solver().bytes(inputs, outputs)
        + (2 * inputs * outputs + inputs + 2 * outputs) * DType.F32.byteSize();
  }

  /**
   * A fitted change.
   *
   * @param change {@code D}, f32, valid until the next call of {@link #solve} or {@link #error}
   * @param lambda the penalty that it was fitted with
   * @param error squared error of a fit without the rows held out, measured on these rows, relative
   *     to the error without a change; at most 1, which it is where no rows are held out
   */
  record Solution(Tensor change, double lambda, double error) {}

  /**
   * Solves for one target. A change that makes the error on the rows held out larger is no
   * solution: behind removed layers, a few tokens whose hidden states are off by many times their
   * length can decide the change, to the harm of all other text.
   *
   * @param withHeldOut whether the change is fitted to all rows; if not, the rows held out are left
   *     out. {@link Solution#error} is the same in both cases
   * @return null if there is no solution: all features are zero, sums overflow f32, or the change
   *     does harm on the rows held out
   */
  @Nullable Solution solve(Moments moments, int target, double lambda, boolean withHeldOut) {
    Tensor out = shaped(change, moments);
    double error = error(moments, target, lambda);
    // False for an error that is no number.
    boolean usable = error <= 1;
    if (!usable) {
      return null;
    }
    if (withHeldOut) {
      Difference gram = new Difference(moments.gram(), null);
      Difference cross = new Difference(moments.target(target).cross(), null);
      if (!isSolved(gram, cross, lambda, out)) {
        return null;
      }
    }
    return new Solution(out, lambda, error);
  }

  /**
   * {@link Solution#error}: fits without the rows held out and measures on them; not finite if
   * there is no solution.
   */
  double error(Moments moments, int target, double lambda) {
    Tensor out = shaped(change, moments);
    Moments.Target of = moments.target(target);
    Difference gram = new Difference(moments.gram(), moments.heldOutGram());
    Difference cross = new Difference(of.cross(), of.heldOut());
    return isSolved(gram, cross, lambda, out) ? error(moments, target, out) : Double.NaN;
  }

  private boolean isSolved(Difference gram, Difference cross, double lambda, Tensor out) {
    try {
      system.ridge(gram, cross, lambda, FLOOR, out);
      return true;
    } catch (NotPositiveDefiniteException e) {
      return false;
    }
  }

  private static Tensor shaped(Tensor room, Moments moments) {
    long elements = moments.outputs() * moments.inputs();
    return room.slice(0, elements).reshape(moments.outputs(), moments.inputs());
  }

  /** {@code (tr(D G D^T) - 2 tr(D C^T) + sum h^2) / sum h^2} on the rows held out. */
  private double error(Moments moments, int target, Tensor weights) {
    Moments.Target of = moments.target(target);
    long outputs = moments.outputs();
    // Of each output i, 2 D_i . C_i - D_i G D_i^T: by how much the error is smaller.
    Tensor images = shaped(product, moments);
    backend.quadraticForms(weights, moments.heldOutGram(), images);
    backend.mix(
        List.of(new TensorMix(images, new double[] {-1, 2}, List.of(images, of.heldOut()))));
    backend.multiply(weights, images, images);
    Tensor one = ones.slice(0, moments.inputs()).reshape(1, moments.inputs());
    backend.linear(images, one, null, sums.slice(0, outputs));
    backend.copy(of.squares(), sums.slice(outputs, 2 * outputs));
    double[] both = Values.sums(backend, sums.slice(0, 2 * outputs), 2);
    double less = both[0];
    double energy = both[1];
    return energy == 0 && Double.isFinite(less) ? 1 : (energy - less) / energy;
  }

  /**
   * A whitening matrix {@code R [d, d]}: {@code R R^T = (G / tokens + floor m I)^-1}, m the mean of
   * the diagonal of {@code G / tokens}. Rows {@code x R} have about unit second moments.
   *
   * @param gram {@code G [d, d]} of the rows {@code x}; d at most the inputs and outputs of this
   *     object
   * @return null if {@code G} is zero or not finite
   */
  @Nullable Tensor whitening(Tensor gram, long tokens, double floor, TensorArena scratch) {
    Tensor out = scratch.allocate(DType.F32, gram.rows(), gram.columns());
    try {
      system.whitening(gram, tokens, floor, out);
      return out;
    } catch (NotPositiveDefiniteException e) {
      return null;
    }
  }

  @Override
  public void close() {
    arena.close();
    system.close();
  }
}
