package dev.laco.model;

import java.lang.foreign.MemorySegment;

/**
 * Finds elements that are NaN or infinite. All bits of the exponent are set exactly in NaN and
 * infinity (IEEE 754). Adding the exponent's lowest bit to an exponent then carries into the place
 * of the sign, and otherwise never does. Eight bytes are tested at a time, whatever the element
 * type.
 */
public final class NonFinite {
  /** Bytes that are tested at a time. */
  private static final int BLOCK = 1 << 16;

  private NonFinite() {}

  /** Index of the first element that is NaN or infinite, or -1. */
  public static long first(DType dtype, MemorySegment data) {
    // Blocks are tested first, without a branch for each word; only a block that has such an
    // element is searched. Words of an array are read quickly before the JVM has compiled the loop.
    long[] words = new long[words(Math.min(BLOCK, data.byteSize()))];
    for (long offset = 0; offset < data.byteSize(); offset += BLOCK) {
      MemorySegment block = data.asSlice(offset, Math.min(BLOCK, data.byteSize() - offset));
      if (holdsNonFinite(dtype, block, words)) {
        int size = dtype.byteSize();
        long i = 0;
        while (!holdsNonFinite(dtype, block.asSlice(i * size, size), words)) {
          i++;
        }
        return offset / size + i;
      }
    }
    return -1;
  }

  /**
   * Whether a block holds such an element.
   *
   * @param words room for the block, which is lost
   */
  private static boolean holdsNonFinite(DType dtype, MemorySegment block, long[] words) {
    long exponent =
        switch (dtype) {
          case F32 -> 0x7f800000_7f800000L;
          case F16 -> 0x7c007c00_7c007c00L;
          case BF16 -> 0x7f807f80_7f807f80L;
        };
    long sign = dtype == DType.F32 ? 0x80000000_80000000L : 0x80008000_80008000L;
    // In each element, the place of the sign less the bits of the exponent is the exponent's lowest
    // bit.
    long lowest = sign - exponent;
    int count = words(block.byteSize());
    words[count - 1] = 0; // in the middle of which the block may end
    MemorySegment.ofArray(words).copyFrom(block);
    return (carried(words, count, exponent, lowest) & sign) != 0;
  }

  // The JVM compiles a loop sooner where nothing is around it.
  private static long carried(long[] words, int count, long exponent, long lowest) {
    long carried = 0;
    for (int i = 0; i < count; i++) {
      carried |= (words[i] & exponent) + lowest;
    }
    return carried;
  }

  private static int words(long bytes) {
    return Math.toIntExact(Math.ceilDiv(bytes, Long.BYTES));
  }
}
