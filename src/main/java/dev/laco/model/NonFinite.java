package dev.laco.model;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/**
 * Finds elements that are NaN or infinite. All bits of the exponent are set exactly in NaN and
 * infinity (IEEE 754). Adding the exponent's lowest bit to an exponent then carries into the place
 * of the sign, and otherwise never does. Eight bytes are tested at a time, whatever the element
 * type.
 */
public final class NonFinite {
  private static final ValueLayout.OfLong LONG = ValueLayout.JAVA_LONG_UNALIGNED;

  private NonFinite() {}

  /** Index of the first element that is NaN or infinite, or -1. */
  public static long first(DType dtype, MemorySegment data) {
    // Blocks are tested first, without a branch for each word; only a block that has such an
    // element is searched.
    long block = 1L << 16;
    for (long offset = 0; offset < data.byteSize(); offset += block) {
      MemorySegment slice = data.asSlice(offset, Math.min(block, data.byteSize() - offset));
      if (holdsNonFinite(dtype, slice)) {
        int size = dtype.byteSize();
        long i = 0;
        while (!holdsNonFinite(dtype, slice.asSlice(i * size, size))) {
          i++;
        }
        return offset / size + i;
      }
    }
    return -1;
  }

  private static boolean holdsNonFinite(DType dtype, MemorySegment data) {
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
    long carried = 0;
    long whole = data.byteSize() & -Long.BYTES;
    for (long i = 0; i < whole; i += Long.BYTES) {
      carried |= (data.get(LONG, i) & exponent) + lowest;
    }
    long tail = 0;
    for (long i = whole; i < data.byteSize(); i++) {
      tail |= (data.get(ValueLayout.JAVA_BYTE, i) & 0xffL) << ((i - whole) * Byte.SIZE);
    }
    carried |= (tail & exponent) + lowest;
    return (carried & sign) != 0;
  }
}
