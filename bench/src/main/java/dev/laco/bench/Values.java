package dev.laco.bench;

import dev.laco.backend.MemoryTensor;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.model.DType;
import java.lang.foreign.MemorySegment;
import java.util.Locale;
import java.util.random.RandomGenerator;
import java.util.random.RandomGeneratorFactory;

/** Makes up tensors, and compares them. */
public final class Values {
  /** Elements that repeat; odd, so that rows differ. */
  private static final int PERIOD = (1 << 18) + 1;

  private Values() {}

  /**
   * A tensor of uniform values in {@code (-scale, scale)}. All of them are bf16 values, so that
   * rounding them for a bf16 product changes nothing.
   */
  static MemoryTensor random(
      TensorArena arena, DType dtype, long rows, long columns, double scale, long seed) {
    MemoryTensor tensor = MemoryTensor.of(arena.allocate(dtype, rows, columns));
    RandomGenerator random = RandomGeneratorFactory.of("L64X128MixRandom").create(seed);
    long period = Math.min(PERIOD, tensor.elements());
    for (long i = 0; i < period; i++) {
      double value = (random.nextDouble() * 2 - 1) * scale;
      tensor.set(i, DType.bf16ToFloat(DType.toBf16(value)));
    }
    MemorySegment data = tensor.data();
    for (long filled = period * dtype.byteSize(); filled < data.byteSize(); filled *= 2) {
      MemorySegment.copy(data, 0, data, filled, Math.min(filled, data.byteSize() - filled));
    }
    return tensor;
  }

  /** Fails unless both tensors have the same bits. */
  public static void requireSame(String what, Tensor actual, Tensor expected) {
    long at = MemoryTensor.of(actual).data().mismatch(MemoryTensor.of(expected).data());
    if (at != -1) {
      throw new AssertionError(what + " differs from the reference at byte " + at);
    }
  }

  /** Fails unless every element is within {@code tolerance} of the largest expected magnitude. */
  public static void requireClose(String what, Tensor actual, Tensor expected, double tolerance) {
    MemoryTensor a = MemoryTensor.of(actual);
    MemoryTensor e = MemoryTensor.of(expected);
    double largest = 0;
    double error = 0;
    for (long i = 0; i < e.elements(); i++) {
      largest = Math.max(largest, Math.abs(e.get(i)));
      error = Math.max(error, Math.abs((double) a.get(i) - e.get(i)));
    }
    // Written so that NaN fails.
    if (!(error <= tolerance * largest)) {
      throw new AssertionError(
          String.format(
              Locale.ROOT,
              "%s is off the reference by %g, where the largest value is %g",
              what,
              error,
              largest));
    }
  }

  /** Fails unless two numbers are within {@code tolerance}. */
  public static void requireClose(String what, double actual, double expected, double tolerance) {
    if (!(Math.abs(actual - expected) <= tolerance)) {
      throw new AssertionError(
          String.format(Locale.ROOT, "%s is %.9f, in the reference %.9f", what, actual, expected));
    }
  }
}
