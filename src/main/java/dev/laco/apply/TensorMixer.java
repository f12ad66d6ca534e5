package dev.laco.apply;

import dev.laco.BadInputException;
import dev.laco.checkpoint.OutputTensor;
import dev.laco.model.DType;
import dev.laco.model.HostTensor;
import dev.laco.model.NonFinite;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.channels.FileChannel;
import java.util.List;
import java.util.Locale;
import java.util.stream.IntStream;

/**
 * Computes {@code sum_j c_j * source_j} in f64, in the order of the sources, and rounds the sum
 * once to the target's type. Every product is rounded before it is added (no fused multiply-add),
 * so that the bytes are the same on every machine. The tensor is written through a buffer of fixed
 * size.
 *
 * @param name the name of the tensor that is made, for messages
 * @param dtype the type of the tensor that is made
 * @param coefficients {@code c}, one for each source
 * @param sources tensors of one shape, of any float type
 */
record TensorMixer(String name, DType dtype, List<Double> coefficients, List<HostTensor> sources) {
  /** Elements that one thread mixes at a time. */
  private static final int PART = 1 << 15;

  /** Parts that are mixed before they are written. */
  private static final int PARTS = 64;

  TensorMixer {
    coefficients = List.copyOf(coefficients);
    sources = List.copyOf(sources);
  }

  /**
   * Writes the mixed tensor at the target's position.
   *
   * @throws BadInputException if a value is too large for the type
   * @throws IOException if the target cannot be written
   */
  void writeTo(FileChannel target) throws IOException {
    long elements = sources.getFirst().elements();
    try (Arena arena = Arena.ofShared()) {
      long most = Math.min(elements, (long) PART * PARTS);
      MemorySegment buffer = arena.allocate(most * dtype.byteSize(), Long.BYTES);
      for (long begin = 0; begin < elements; begin += most) {
        int count = (int) Math.min(most, elements - begin);
        mix(begin, count, buffer);
        OutputTensor.write(buffer.asSlice(0, (long) count * dtype.byteSize()), target);
      }
    }
  }

  /**
   * The mixed tensor in memory.
   *
   * @throws BadInputException if a value is too large for the type
   */
  MemorySegment mix(Arena arena) {
    long elements = sources.getFirst().elements();
    long size = dtype.byteSize();
    MemorySegment mixed = arena.allocate(elements * size, Long.BYTES);
    long most = (long) PART * PARTS;
    for (long begin = 0; begin < elements; begin += most) {
      mix(begin, (int) Math.min(most, elements - begin), mixed.asSlice(begin * size));
    }
    return mixed;
  }

  private void mix(long begin, int count, MemorySegment buffer) {
    IntStream.range(0, Math.ceilDiv(count, PART))
        .parallel()
        .forEach(
            part -> {
              int offset = part * PART;
              double[] sum = new double[Math.min(PART, count - offset)];
              for (int j = 0; j < sources.size(); j++) {
                addProduct(coefficients.get(j), sources.get(j), begin + offset, j == 0, sum);
              }
              long size = dtype.byteSize();
              MemorySegment rounded = buffer.asSlice(offset * size, sum.length * size);
              round(sum, rounded);
              if (NonFinite.first(dtype, rounded) >= 0) {
                throw new BadInputException(
                    String.format(
                        Locale.ROOT,
                        "tensor '%s': the mix has values that %s cannot hold; choose another rule, or a checkpoint in bf16 or f32",
                        name,
                        dtype));
              }
            });
  }

  private static void addProduct(
      double coefficient, HostTensor source, long begin, boolean first, double[] sum) {
    MemorySegment data = source.data();
    switch (source.dtype()) {
      case F32 -> {
        for (int i = 0; i < sum.length; i++) {
          double product =
              coefficient * data.getAtIndex(ValueLayout.JAVA_FLOAT_UNALIGNED, begin + i);
          sum[i] = first ? product : sum[i] + product;
        }
      }
      case F16 -> {
        for (int i = 0; i < sum.length; i++) {
          short bits = data.getAtIndex(ValueLayout.JAVA_SHORT_UNALIGNED, begin + i);
          double product = coefficient * Float.float16ToFloat(bits);
          sum[i] = first ? product : sum[i] + product;
        }
      }
      case BF16 -> {
        for (int i = 0; i < sum.length; i++) {
          short bits = data.getAtIndex(ValueLayout.JAVA_SHORT_UNALIGNED, begin + i);
          double product = coefficient * DType.bf16ToFloat(bits);
          sum[i] = first ? product : sum[i] + product;
        }
      }
    }
  }

  private void round(double[] sum, MemorySegment to) {
    switch (dtype) {
      case F32 -> {
        for (int i = 0; i < sum.length; i++) {
          to.setAtIndex(ValueLayout.JAVA_FLOAT_UNALIGNED, i, (float) sum[i]);
        }
      }
      case F16 -> {
        for (int i = 0; i < sum.length; i++) {
          to.setAtIndex(ValueLayout.JAVA_SHORT_UNALIGNED, i, DType.toF16(sum[i]));
        }
      }
      case BF16 -> {
        for (int i = 0; i < sum.length; i++) {
          to.setAtIndex(ValueLayout.JAVA_SHORT_UNALIGNED, i, DType.toBf16(sum[i]));
        }
      }
    }
  }
}
