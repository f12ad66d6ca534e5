package dev.laco.checkpoint.scaled;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT_UNALIGNED;
import static java.lang.foreign.ValueLayout.JAVA_INT_UNALIGNED;
import static java.lang.foreign.ValueLayout.JAVA_SHORT_UNALIGNED;

import dev.laco.checkpoint.table.StoredType;
import dev.laco.checkpoint.table.TensorInfo;
import dev.laco.model.DType;
import dev.laco.model.HostTensor;
import java.lang.foreign.MemorySegment;
import java.nio.file.Path;
import java.util.stream.LongStream;

/**
 * Computes a matrix of weights from codes of eight bits: a weight is the value of its code times
 * the scale of its block, an f32 product that is rounded once, as in transformers ({@code
 * Fp8Dequantize}) and compressed-tensors ({@code dequantize}).
 *
 * @param info the matrix of codes
 * @param dtype the type of the weights
 */
record ScaledMatrix(
    ScaledWeights quantisation, Path file, TensorInfo info, StoredType codes, DType dtype)
    implements TensorInfo.Decoder {
  private static final int CODES = 256;

  private ScaledWeights.Blocks blocks() {
    return quantisation.blocks(file, info);
  }

  @Override
  public void check() {
    blocks();
  }

  @Override
  public void decode(MemorySegment stored, MemorySegment weight) {
    ScaledWeights.Blocks blocks = blocks();
    long rows = info.shape().getFirst();
    LongStream.range(0, Math.ceilDiv(rows, blocks.rows()))
        .parallel()
        .forEach(down -> decode(stored, weight, blocks, down));
  }

  /** Computes a row of blocks. */
  private void decode(
      MemorySegment stored, MemorySegment weight, ScaledWeights.Blocks blocks, long down) {
    long columns = info.shape().getLast();
    long lastRow = Math.min((down + 1) * blocks.rows(), info.shape().getFirst());
    for (long across = 0; across < blocks.across(); across++) {
      int[] values = values(scale(blocks.scales(), down * blocks.across() + across));
      long first = across * blocks.columns();
      long last = Math.min(first + blocks.columns(), columns);
      for (long row = down * blocks.rows(); row < lastRow; row++) {
        for (long at = row * columns + first; at < row * columns + last; at++) {
          int value = values[Byte.toUnsignedInt(stored.get(JAVA_BYTE, at))];
          if (dtype == DType.F32) {
            weight.setAtIndex(JAVA_INT_UNALIGNED, at, value);
          } else {
            weight.setAtIndex(JAVA_SHORT_UNALIGNED, at, (short) value);
          }
        }
      }
    }
  }

  /** The bits of the weight of each code in a block. */
  private int[] values(float scale) {
    int[] values = new int[CODES];
    for (int code = 0; code < CODES; code++) {
      float product = value((byte) code) * scale;
      values[code] =
          switch (dtype) {
            case F32 -> Float.floatToRawIntBits(product);
            case F16 -> DType.toF16(product);
            case BF16 -> DType.toBf16(product);
          };
    }
    return values;
  }

  private float value(byte code) {
    return switch (codes) {
      case I8 -> code;
      case F8_E5M2 -> Float.float16ToFloat((short) (code << Byte.SIZE));
      case F8_E4M3 -> e4m3(code);
      default -> throw new IllegalStateException(codes + " is no type of codes");
    };
  }

  /**
   * Widens float8 of four bits of exponent, without infinities (Micikevicius et al., "FP8 Formats
   * for Deep Learning", 2022).
   */
  private static float e4m3(byte code) {
    int magnitude = code & 0x7f;
    if (magnitude == 0x7f) {
      return Float.NaN;
    }
    int exponent = magnitude >> 3;
    int mantissa = magnitude & 7;
    float value =
        exponent == 0
            ? Math.scalb((float) mantissa, -9)
            : Math.scalb((float) (8 + mantissa), exponent - 10);
    return code < 0 ? -value : value;
  }

  private static float scale(HostTensor scales, long index) {
    return switch (scales.dtype()) {
      case F32 -> scales.data().getAtIndex(JAVA_FLOAT_UNALIGNED, index);
      case F16 -> Float.float16ToFloat(scales.data().getAtIndex(JAVA_SHORT_UNALIGNED, index));
      case BF16 -> DType.bf16ToFloat(scales.data().getAtIndex(JAVA_SHORT_UNALIGNED, index));
    };
  }
}
