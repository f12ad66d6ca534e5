package dev.laco.model;

import java.util.Locale;

/**
 * Element type of a tensor. Conversions to the 16-bit types round to nearest even, once, whatever
 * the width of the source; NaN stays NaN and values beyond the largest finite one become infinite
 * (IEEE 754).
 */
public enum DType {
  F32(4, "float32"),
  F16(2, "float16"),
  BF16(2, "bfloat16");

  private final int byteSize;
  private final String torchName;

  DType(int byteSize, String torchName) {
    this.byteSize = byteSize;
    this.torchName = torchName;
  }

  /** Bytes of one element. */
  public int byteSize() {
    return byteSize;
  }

  /** The name in {@code config.json} ({@code bfloat16}). */
  public String torchName() {
    return torchName;
  }

  /** Short lower-case name for people ({@code bf16}). */
  public String shortName() {
    return name().toLowerCase(Locale.ROOT);
  }

  /** Widens bfloat16 bits. */
  public static float bf16ToFloat(short bits) {
    return Float.intBitsToFloat(bits << 16);
  }

  /** Rounds to bfloat16 bits, once, from f64. */
  public static short toBf16(double value) {
    int bits = Float.floatToRawIntBits(roundToOdd(value));
    if (Double.isNaN(value)) {
      return (short) ((bits >>> 16) | 0x40);
    }
    return (short) ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16);
  }

  /** Rounds to float16 bits, once, from f64. */
  public static short toF16(double value) {
    return Float.floatToFloat16(roundToOdd(value));
  }

  /**
   * The float next to {@code value} whose last bit is odd unless the conversion is exact. Rounding
   * that to a type at least two bits narrower gives what rounding {@code value} itself would (Boldo
   * and Melquiond, "When double rounding is odd", 2005).
   */
  private static float roundToOdd(double value) {
    float nearest = (float) value;
    if (nearest == value || Double.isNaN(value)) {
      return nearest;
    }
    if (Float.isInfinite(nearest)) {
      return Math.copySign(Float.MAX_VALUE, nearest);
    }
    int bits = Float.floatToRawIntBits(nearest);
    if ((bits & 1) != 0) {
      return nearest;
    }
    boolean tooLarge = Math.abs((double) nearest) > Math.abs(value);
    // Magnitudes are ordered like their bits, so the odd neighbour towards the value is one away.
    return Float.intBitsToFloat(tooLarge ? bits - 1 : bits + 1);
  }
}
