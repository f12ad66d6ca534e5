package dev.laco.checkpoint.scaled;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static java.lang.foreign.ValueLayout.JAVA_INT_UNALIGNED;
import static java.lang.foreign.ValueLayout.JAVA_SHORT_UNALIGNED;

import dev.laco.checkpoint.table.TensorInfo;
import dev.laco.model.DType;
import java.lang.foreign.MemorySegment;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.LongStream;

/**
 * Computes the matrices of all experts from MXFP4, as transformers does ({@code
 * convert_moe_packed_tensors}): a weight is the value of its code times two to the power of its
 * group's exponent. The rows of the codes become the columns of the weight.
 *
 * @param name of the weight
 * @param blocks the shape of the codes, {@code [experts, rows, groups, 16]}
 * @param dtype the type of the weights
 */
record Mxfp4Experts(
    Mxfp4Weights quantisation, Path file, String name, List<Long> blocks, DType dtype)
    implements TensorInfo.Decoder {
  /** The magnitudes of codes of four bits (E2M1), whose first bit is the sign. */
  private static final float[] MAGNITUDES = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};

  private static final int CODES = 16;
  private static final int EXPONENTS = 256;
  private static final int BIAS = 127;

  @Override
  public void check() {
    quantisation.scales(file, name, blocks);
  }

  @Override
  public void decode(MemorySegment stored, MemorySegment weight) {
    MemorySegment scales = quantisation.scales(file, name, blocks);
    int[] values = values();
    long experts = blocks.get(0);
    long groups = blocks.get(2);
    LongStream.range(0, experts * groups)
        .parallel()
        .forEach(task -> decode(stored, scales, values, task / groups, task % groups, weight));
  }

  /** Computes what the codes of a group of columns stand for, in all rows of an expert. */
  private void decode(
      MemorySegment stored,
      MemorySegment scales,
      int[] values,
      long expert,
      long group,
      MemorySegment weight) {
    long rows = blocks.get(1);
    long groups = blocks.get(2);
    long first = (expert * groups + group) * 2 * Mxfp4Weights.GROUP_BYTES * rows;
    for (int pair = 0; pair < Mxfp4Weights.GROUP_BYTES; pair++) {
      long to = first + 2L * pair * rows;
      for (long row = 0; row < rows; row++) {
        long at = (expert * rows + row) * groups + group;
        int codes = Byte.toUnsignedInt(stored.get(JAVA_BYTE, at * Mxfp4Weights.GROUP_BYTES + pair));
        int exponent = Byte.toUnsignedInt(scales.get(JAVA_BYTE, at)) * CODES;
        set(weight, to + row, values[exponent + codes % CODES]);
        set(weight, to + rows + row, values[exponent + codes / CODES]);
      }
    }
  }

  private void set(MemorySegment weight, long index, int value) {
    if (dtype == DType.F32) {
      weight.setAtIndex(JAVA_INT_UNALIGNED, index, value);
    } else {
      weight.setAtIndex(JAVA_SHORT_UNALIGNED, index, (short) value);
    }
  }

  /** The bits of the weights of all codes, by exponent. */
  private int[] values() {
    int[] values = new int[EXPONENTS * CODES];
    for (int i = 0; i < values.length; i++) {
      int code = i % CODES;
      float magnitude = Math.scalb(MAGNITUDES[code % MAGNITUDES.length], i / CODES - BIAS);
      float value = code < MAGNITUDES.length ? magnitude : -magnitude;
      values[i] =
          switch (dtype) {
            case F32 -> Float.floatToRawIntBits(value);
            case F16 -> DType.toF16(value);
            case BF16 -> DType.toBf16(value);
          };
    }
    return values;
  }
}
