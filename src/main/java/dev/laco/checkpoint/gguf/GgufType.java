package dev.laco.checkpoint.gguf;

import dev.laco.model.DType;
import dev.laco.model.ElementType;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;
import java.util.Optional;
import java.util.stream.LongStream;
import org.jspecify.annotations.Nullable;

/**
 * Element types of GGUF tensors, with the numbers that the format gives them ({@code ggml_type} in
 * ggml.h). A quantised tensor consists of blocks: consecutive elements of a row that share scales.
 */
public enum GgufType implements ElementType {
  F32(0, DType.F32),
  F16(1, DType.F16),
  Q4_0(2, 32, 18, true),
  Q4_1(3, 32, 20, true),
  Q5_0(6, 32, 22, true),
  Q5_1(7, 32, 24, true),
  Q8_0(8, 32, 34, true),
  Q8_1(9, 32, 36, false),
  Q2_K(10, 256, 84, true),
  Q3_K(11, 256, 110, true),
  Q4_K(12, 256, 144, true),
  Q5_K(13, 256, 176, true),
  Q6_K(14, 256, 210, true),
  Q8_K(15, 256, 292, false),
  IQ2_XXS(16, 256, 66, false),
  IQ2_XS(17, 256, 74, false),
  IQ3_XXS(18, 256, 98, false),
  IQ1_S(19, 256, 50, false),
  IQ4_NL(20, 32, 18, true),
  IQ3_S(21, 256, 110, false),
  IQ2_S(22, 256, 82, false),
  IQ4_XS(23, 256, 136, false),
  I8(24, 1),
  I16(25, 2),
  I32(26, 4),
  I64(27, 8),
  F64(28, 8),
  IQ1_M(29, 256, 56, false),
  BF16(30, DType.BF16),
  TQ1_0(34, 256, 54, false),
  TQ2_0(35, 256, 66, false),
  /** Values that bf16 holds exactly. */
  MXFP4(39, 32, 17, DType.BF16),
  NVFP4(40, 64, 36, false),
  Q1_0(41, 128, 18, false),
  Q2_0(42, 64, 18, false);

  /** Elements that one thread computes at a time, whole blocks of every type. */
  private static final long PART = 1 << 16;

  private final int number;
  private final int blockElements;
  private final int blockBytes;
  private final @Nullable DType dtype;

  GgufType(int number, DType dtype) {
    this(number, 1, dtype.byteSize(), dtype);
  }

  GgufType(int number, int byteSize) {
    this(number, 1, byteSize, null);
  }

  GgufType(int number, int blockElements, int blockBytes, boolean readable) {
    this(number, blockElements, blockBytes, readable ? DType.F32 : null);
  }

  GgufType(int number, int blockElements, int blockBytes, @Nullable DType dtype) {
    this.number = number;
    this.blockElements = blockElements;
    this.blockBytes = blockBytes;
    this.dtype = dtype;
  }

  /** The type that the format gives a number; empty where it gives the number to none. */
  static Optional<GgufType> of(int number) {
    return Arrays.stream(values()).filter(type -> type.number == number).findFirst();
  }

  /** The number that the format gives this type. */
  public int number() {
    return number;
  }

  /**
   * Rounds values to this type, which is F32, F16, BF16, Q8_0 or MXFP4, bit for bit as the library
   * gguf of llama.cpp does.
   *
   * @param values whole blocks
   * @param to gets the bytes
   * @return whether every value that is finite is finite in this type
   */
  public boolean write(float[] values, MemorySegment to) {
    boolean finite = true;
    switch (this) {
      case F32 ->
          MemorySegment.copy(values, 0, to, ValueLayout.JAVA_FLOAT_UNALIGNED, 0, values.length);
      case F16 -> {
        for (int i = 0; i < values.length; i++) {
          short bits = DType.toF16(values[i]);
          finite &= Float.isFinite(Float.float16ToFloat(bits)) || !Float.isFinite(values[i]);
          to.setAtIndex(ValueLayout.JAVA_SHORT_UNALIGNED, i, bits);
        }
      }
      case BF16 -> {
        for (int i = 0; i < values.length; i++) {
          short bits = DType.toBf16(values[i]);
          finite &= Float.isFinite(DType.bf16ToFloat(bits)) || !Float.isFinite(values[i]);
          to.setAtIndex(ValueLayout.JAVA_SHORT_UNALIGNED, i, bits);
        }
      }
      case Q8_0 -> {
        for (int block = 0; block < values.length / blockElements; block++) {
          finite &= QuantisedBlock.writeQ8(values, block, to);
        }
      }
      case MXFP4 -> {
        for (int block = 0; block < values.length / blockElements; block++) {
          QuantisedBlock.writeMxfp4(values, block, to);
        }
      }
      default -> throw new IllegalArgumentException(name() + " is not written");
    }
    return finite;
  }

  /** Elements of a block; 1 for a type without blocks. */
  public int blockElements() {
    return blockElements;
  }

  /** Bytes of a block. */
  public int blockBytes() {
    return blockBytes;
  }

  @Override
  public @Nullable DType dtype() {
    return dtype;
  }

  @Override
  public boolean isQuantised() {
    return blockElements > 1;
  }

  /** Bytes of so many elements, which are whole blocks. */
  public long bytes(long elements) {
    return Math.multiplyExact(elements / blockElements, (long) blockBytes);
  }

  /**
   * Computes the values of a quantised tensor, bit for bit as the library gguf of llama.cpp does,
   * on all cores.
   *
   * @param blocks whole blocks of this type, which has a {@link #dtype}
   * @param to F32, or the {@link #dtype} of this type
   * @param values gets the values, {@link #blockElements} for each block
   */
  public void dequantise(MemorySegment blocks, DType to, MemorySegment values) {
    if (!isQuantised() || dtype == null || (to != DType.F32 && to != dtype)) {
      throw new IllegalStateException(name() + " has no values of " + to + " that can be computed");
    }
    long count = blocks.byteSize() / blockBytes;
    long inPart = PART / blockElements;
    LongStream.range(0, Math.ceilDiv(count, inPart))
        .parallel()
        .forEach(
            part -> {
              float[] block = new float[blockElements];
              long end = Math.min(count, (part + 1) * inPart);
              for (long i = part * inPart; i < end; i++) {
                QuantisedBlock.read(this, blocks, i * blockBytes, block);
                put(block, to, values, i * blockElements);
              }
            });
  }

  private static void put(float[] block, DType to, MemorySegment values, long first) {
    if (to == DType.F32) {
      MemorySegment.copy(
          block, 0, values, ValueLayout.JAVA_FLOAT_UNALIGNED, first * Float.BYTES, block.length);
      return;
    }
    for (int i = 0; i < block.length; i++) {
      values.setAtIndex(ValueLayout.JAVA_SHORT_UNALIGNED, first + i, DType.toBf16(block[i]));
    }
  }
}
