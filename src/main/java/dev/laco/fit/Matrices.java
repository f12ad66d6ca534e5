package dev.laco.fit;

import dev.laco.backend.Backend;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.backend.TensorMix;
import dev.laco.model.DType;
import java.util.Arrays;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** Products of weights on the device, in f32, for making new weights. */
final class Matrices implements AutoCloseable {
  /** Elements of the identity that are copied to the device at once. */
  private static final int IDENTITY_ELEMENTS = 1 << 21;

  private final Backend backend;
  private final int width;
  private final TensorArena arena;

  /** {@code [d, d]}. */
  private final Tensor identity;

  /** The number that norms add to their weights, {@code [1, d]}. */
  private final Tensor offset;

  /** For models of hidden size {@code width}, d, and norms with this offset. */
  Matrices(Backend backend, int width, double normOffset) {
    this.backend = backend;
    this.width = width;
    arena = backend.arena();
    identity = arena.allocate(DType.F32, width, width);
    offset = arena.allocate(DType.F32, 1, width);
    float[] row = new float[width];
    Arrays.fill(row, (float) normOffset);
    backend.upload(row, offset);
    int atOnce = Math.clamp(IDENTITY_ELEMENTS / width, 1, width);
    for (int from = 0; from < width; from += atOnce) {
      int to = Math.min(width, from + atOnce);
      float[] rows = new float[(to - from) * width];
      for (int i = from; i < to; i++) {
        rows[(i - from) * width + i] = 1;
      }
      backend.upload(rows, identity.slice(from, to));
    }
  }

  /** Bytes of buffers, with those for making one matrix {@code [width, inputs]} and rounding it. */
  static long bytes(long inputs, long width) {
    return (width * width + width + 3 * inputs * width) * DType.F32.byteSize()
        + inputs * width * DType.BF16.byteSize();
  }

  /**
   * The matrix {@code M [d, d] = diag(norm) (I + change)} for {@link #mapped}. A projection times
   * {@code M} needs no norm weight in front and gets the aligned input.
   *
   * @param change the fitted map of normalised inputs less the identity; null for none
   * @param norm the norm's weight, to which the norm adds its offset
   */
  Tensor map(@Nullable Tensor change, Tensor norm, TensorArena scratch) {
    Tensor sum = scratch.allocate(DType.F32, width, width);
    backend.copy(identity, sum);
    if (change != null) {
      backend.add(sum, change);
    }
    Tensor factors = wide(norm, scratch);
    backend.add(factors, offset);
    backend.scaledDifference(sum, null, factors.reshape(width, 1), sum);
    return sum;
  }

  /** A projection's weight multiplied by a {@link #map}. */
  Tensor mapped(Tensor weight, Tensor map, TensorArena scratch) {
    Tensor out = scratch.allocate(DType.F32, weight.rows(), weight.columns());
    multiply(wide(weight, scratch), map, out);
    return out;
  }

  /** {@code out = rows map}, all f32: rows of a weight multiplied by a {@link #map}. */
  void multiply(Tensor rows, Tensor map, Tensor out) {
    backend.linearTransposed(rows, map, null, out);
  }

  /** A copy of a weight's values in f32. */
  Tensor wide(Tensor weight, TensorArena scratch) {
    return narrow(weight, DType.F32, scratch);
  }

  /** A copy of a tensor's values in a type, each rounded once. */
  Tensor narrow(Tensor values, DType dtype, TensorArena scratch) {
    Tensor out = scratch.allocate(dtype, values.rows(), values.columns());
    round(values, out);
    return out;
  }

  /** Copies values, each rounded once to the type that it has in the copy. */
  void round(Tensor values, Tensor to) {
    backend.mix(List.of(new TensorMix(to, new double[] {1}, List.of(values))));
  }

  @Override
  public void close() {
    arena.close();
  }
}
