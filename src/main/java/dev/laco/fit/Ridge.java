package dev.laco.fit;

import dev.laco.backend.Backend;
import dev.laco.backend.MemoryArena;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.linalg.Cholesky;
import dev.laco.model.DType;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import org.jspecify.annotations.Nullable;

/**
 * Ridge regression of what a linear map leaves undone: the change {@code D [outputs, inputs]} that
 * minimises {@code sum_t |D a_t - h_t|^2 + sum_i r_i |D_i|^2}, {@code D_i} its columns, that is
 * {@code D^T = (G + diag(r))^-1 C^T}, with {@code r_i = lambda (G_ii + 0.01 tr(G) / inputs)}: what
 * counts is how much a change moves, not how long it is. Solved on the host in f64. Lambda is
 * chosen on documents held out: the largest that gains there nearly as much as the best does, since
 * smaller weights that fit them about as well carry further.
 */
final class Ridge implements AutoCloseable {
  /** What of the mean second moment every input's penalty has at least. */
  private static final double FLOOR = 0.01;

  private final Backend backend;
  private final MemoryArena host = new MemoryArena();
  private final TensorArena arena;
  private final MemorySegment matrix;
  private final MemorySegment right;
  private final Tensor change;
  private final Tensor product;

  /** Room for problems of at most so many inputs and outputs. */
  Ridge(Backend backend, long inputs, long outputs) {
    this.backend = backend;
    matrix = host.allocate(inputs * inputs * Double.BYTES);
    right = host.allocate(inputs * outputs * Double.BYTES);
    arena = backend.arena();
    change = arena.allocate(DType.F32, outputs * inputs, 1);
    product = arena.allocate(DType.F32, outputs * inputs, 1);
  }

  /** Bytes on the host and on the device together. */
  static long bytes(long inputs, long outputs) {
    return inputs * (inputs + outputs) * Double.BYTES + 2 * inputs * outputs * DType.F32.byteSize();
  }

  /**
   * What a fit came to.
   *
   * @param change {@code D}, f32, valid until the next solve
   * @param error squared error that is left on documents held out, relative to that without the
   *     change; may exceed 1
   */
  record Solution(Tensor change, double lambda, double error) {}

  /**
   * Solves for one target.
   *
   * @param withHeldOut whether what was held out counts in the change; never in its error
   */
  Solution solve(Moments moments, int target, double lambda, boolean withHeldOut) {
    Tensor out = shaped(change, moments);
    double error = error(moments, target, lambda);
    if (withHeldOut) {
      load(moments.gram(), null, matrix);
      load(moments.target(target).cross(), null, right);
      solve(moments, lambda);
    }
    return new Solution(out, lambda, error);
  }

  /** What is left on what was held out, {@link Solution#error}, of a fit without it. */
  double error(Moments moments, int target, double lambda) {
    solve(moments, target, lambda);
    return error(moments, target, shaped(change, moments));
  }

  private static Tensor shaped(Tensor room, Moments moments) {
    long elements = moments.outputs() * moments.inputs();
    return room.slice(0, elements).reshape(moments.outputs(), moments.inputs());
  }

  /** {@code (tr(D G D^T) - 2 tr(D C^T) + sum h^2) / sum h^2} on what was held out. */
  private double error(Moments moments, int target, Tensor weights) {
    Moments.Target of = moments.target(target);
    float[] squares = new float[Math.toIntExact(moments.outputs())];
    backend.download(of.squares(), squares);
    double energy = 0;
    for (float square : squares) {
      energy += square;
    }
    Tensor images = shaped(product, moments);
    backend.linear(weights, moments.heldOutGram(), null, images);
    float[] row = new float[Math.toIntExact(moments.inputs())];
    float[] image = row.clone();
    float[] cross = row.clone();
    double sum = energy;
    for (long output = 0; output < moments.outputs(); output++) {
      backend.download(weights.slice(output, output + 1), row);
      backend.download(images.slice(output, output + 1), image);
      backend.download(of.heldOut().slice(output, output + 1), cross);
      for (int i = 0; i < row.length; i++) {
        sum += row[i] * ((double) image[i] - 2.0 * cross[i]);
      }
    }
    return energy > 0 ? sum / energy : 1;
  }

  private void solve(Moments moments, int target, double lambda) {
    load(moments.gram(), moments.heldOutGram(), matrix);
    load(moments.target(target).cross(), moments.target(target).heldOut(), right);
    solve(moments, lambda);
  }

  /**
   * {@code R [d, d]} with {@code R R^T = (G / tokens + floor m I)^-1}, m the mean of the diagonal:
   * behind it, rows whose second moments are {@code G} have those of the identity.
   *
   * @param gram {@code G [d, d]}, d no more than the inputs and outputs that there is room for
   */
  Tensor whitening(Tensor gram, long tokens, double floor, TensorArena scratch) {
    long width = gram.rows();
    load(gram, null, matrix);
    double trace = 0;
    for (long i = 0; i < width; i++) {
      trace += matrix.getAtIndex(ValueLayout.JAVA_DOUBLE, i * (width + 1));
    }
    for (long i = 0; i < width * width; i++) {
      double more = i % (width + 1) == 0 ? floor * trace / width : 0;
      double value = matrix.getAtIndex(ValueLayout.JAVA_DOUBLE, i);
      matrix.setAtIndex(ValueLayout.JAVA_DOUBLE, i, (value + more) / tokens);
    }
    long bytes = width * width * Double.BYTES;
    MemorySegment factor = right.asSlice(0, bytes);
    Cholesky.inverseFactor(matrix.asSlice(0, bytes), factor, width, backend.hostThreads());
    Tensor out = scratch.allocate(DType.F32, width, width);
    store(factor, out);
    return out;
  }

  /** Leaves the change on the device. */
  private void solve(Moments moments, double lambda) {
    long inputs = moments.inputs();
    double trace = 0;
    for (long i = 0; i < inputs; i++) {
      trace += matrix.getAtIndex(ValueLayout.JAVA_DOUBLE, i * (inputs + 1));
    }
    double least = FLOOR * trace / inputs;
    for (long i = 0; i < inputs; i++) {
      long diagonal = i * (inputs + 1);
      double value = matrix.getAtIndex(ValueLayout.JAVA_DOUBLE, diagonal);
      matrix.setAtIndex(ValueLayout.JAVA_DOUBLE, diagonal, value + lambda * (value + least));
    }
    // A row-major [outputs, inputs] is what LAPACK calls inputs x outputs, a column an output.
    Cholesky.solve(
        matrix.asSlice(0, inputs * inputs * Double.BYTES),
        right.asSlice(0, inputs * moments.outputs() * Double.BYTES),
        inputs,
        moments.outputs(),
        backend.hostThreads());
    store(right, shaped(change, moments));
  }

  /** {@code to = from}, narrowed to f32. */
  private void store(MemorySegment from, Tensor to) {
    float[] row = new float[Math.toIntExact(to.columns())];
    for (long r = 0; r < to.rows(); r++) {
      for (int i = 0; i < row.length; i++) {
        row[i] = (float) from.getAtIndex(ValueLayout.JAVA_DOUBLE, r * row.length + i);
      }
      backend.upload(row, to.slice(r, r + 1));
    }
  }

  /** {@code to = all - part}, widened to f64. */
  private void load(Tensor all, @Nullable Tensor part, MemorySegment to) {
    float[] row = new float[Math.toIntExact(all.columns())];
    float[] less = row.clone();
    for (long r = 0; r < all.rows(); r++) {
      backend.download(all.slice(r, r + 1), row);
      if (part != null) {
        backend.download(part.slice(r, r + 1), less);
      }
      for (int i = 0; i < row.length; i++) {
        to.setAtIndex(ValueLayout.JAVA_DOUBLE, r * row.length + i, (double) row[i] - less[i]);
      }
    }
  }

  @Override
  public void close() {
    arena.close();
    host.close();
  }
}
