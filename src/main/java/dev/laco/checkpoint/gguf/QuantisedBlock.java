package dev.laco.checkpoint.gguf;

import dev.laco.model.DType;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;

/**
 * The values of one block of each quantised type, whose layouts ggml-common.h of llama.cpp
 * describes. Every product and every sum is rounded to f32 in the order of gguf-py's quants.py, so
 * that the results are the same bits.
 *
 * <p>Each method takes the segment that holds the block, the block's first byte, and an array that
 * gets one value for each element.
 */
final class QuantisedBlock {
  private static final ValueLayout.OfShort SHORT =
      ValueLayout.JAVA_SHORT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
  private static final ValueLayout.OfInt INT =
      ValueLayout.JAVA_INT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

  /** The values that the four bits of an element of IQ4_NL stand for. */
  private static final byte[] IQ4_VALUES = {
    -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113
  };

  /** Twice the values that the four bits of an element of MXFP4 (E2M1) stand for. */
  private static final byte[] E2M1_VALUES = {
    0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12
  };

  private QuantisedBlock() {}

  /** Computes the values of a block of this type. */
  static void read(GgufType type, MemorySegment from, long at, float[] to) {
    switch (type) {
      case Q4_0 -> q4_0(from, at, to);
      case Q4_1 -> q4_1(from, at, to);
      case Q5_0 -> q5_0(from, at, to);
      case Q5_1 -> q5_1(from, at, to);
      case Q8_0 -> q8_0(from, at, to);
      case Q2_K -> q2k(from, at, to);
      case Q3_K -> q3k(from, at, to);
      case Q4_K -> q4k(from, at, to);
      case Q5_K -> q5k(from, at, to);
      case Q6_K -> q6k(from, at, to);
      case IQ4_NL -> iq4nl(from, at, to);
      case MXFP4 -> mxfp4(from, at, to);
      default -> throw new IllegalArgumentException(type + " has no values that can be computed");
    }
  }

  private static float half(MemorySegment from, long at) {
    return Float.float16ToFloat(from.get(SHORT, at));
  }

  private static int unsigned(MemorySegment from, long at) {
    return Byte.toUnsignedInt(from.get(ValueLayout.JAVA_BYTE, at));
  }

  /** Element {@code i} of 32 elements in 16 bytes: first the low halves of the bytes. */
  private static int nibble(MemorySegment from, long at, int i) {
    return i < 16 ? unsigned(from, at + i) & 15 : unsigned(from, at + i - 16) >> 4;
  }

  private static void q4_0(MemorySegment from, long at, float[] to) {
    float scale = half(from, at);
    for (int i = 0; i < 32; i++) {
      to[i] = scale * (nibble(from, at + 2, i) - 8);
    }
  }

  private static void q4_1(MemorySegment from, long at, float[] to) {
    float scale = half(from, at);
    float least = half(from, at + 2);
    for (int i = 0; i < 32; i++) {
      to[i] = scale * nibble(from, at + 4, i) + least;
    }
  }

  private static void q5_0(MemorySegment from, long at, float[] to) {
    float scale = half(from, at);
    int high = from.get(INT, at + 2);
    for (int i = 0; i < 32; i++) {
      to[i] = scale * ((nibble(from, at + 6, i) | (high >>> i & 1) << 4) - 16);
    }
  }

  private static void q5_1(MemorySegment from, long at, float[] to) {
    float scale = half(from, at);
    float least = half(from, at + 2);
    int high = from.get(INT, at + 4);
    for (int i = 0; i < 32; i++) {
      to[i] = scale * (nibble(from, at + 8, i) | (high >>> i & 1) << 4) + least;
    }
  }

  private static void q8_0(MemorySegment from, long at, float[] to) {
    float scale = half(from, at);
    for (int i = 0; i < 32; i++) {
      to[i] = scale * from.get(ValueLayout.JAVA_BYTE, at + 2 + i);
    }
  }

  /**
   * Writes a block of Q8_0: the scale is the largest magnitude through 127, and values are rounded
   * half away from zero.
   *
   * @return whether the scale is finite
   */
  static boolean writeQ8(float[] values, int block, MemorySegment to) {
    float largest = 0;
    for (int i = 32 * block; i < 32 * (block + 1); i++) {
      largest = Math.max(largest, Math.abs(values[i]));
    }
    float scale = largest / 127;
    float inverse = scale == 0 ? 0 : 1 / scale;
    long at = 34L * block;
    short bits = DType.toF16(scale);
    to.set(SHORT, at, bits);
    for (int i = 0; i < 32; i++) {
      float scaled = values[32 * block + i] * inverse;
      float magnitude = Math.abs(scaled);
      double whole = Math.floor(magnitude);
      double rounded = whole + Math.floor(2 * (magnitude - whole));
      to.set(ValueLayout.JAVA_BYTE, at + 2 + i, (byte) (scaled < 0 ? -rounded : rounded));
    }
    return Float.isFinite(Float.float16ToFloat(bits));
  }

  /** Bytes: 16 of scales and minima (four bits each), 64 of elements, two f16 factors. */
  private static void q2k(MemorySegment from, long at, float[] to) {
    float scale = half(from, at + 80);
    float least = half(from, at + 82);
    for (int group = 0; group < 16; group++) {
      int packed = unsigned(from, at + group);
      float groupScale = scale * (packed & 15);
      float groupLeast = least * (packed >> 4);
      for (int i = 0; i < 16; i++) {
        to[16 * group + i] = groupScale * twoBits(from, at + 16, 16 * group + i) - groupLeast;
      }
    }
  }

  /**
   * Element {@code i} of 256 elements in 64 bytes: each 32 bytes hold 128 elements, the lowest two
   * bits of all bytes first.
   */
  private static int twoBits(MemorySegment from, long at, int i) {
    return unsigned(from, at + i / 128 * 32L + i % 32) >> (i % 128 / 32 * 2) & 3;
  }

  /** Bytes: 32 of third bits, 64 of two bits each, 12 of scales (six bits), one f16 factor. */
  private static void q3k(MemorySegment from, long at, float[] to) {
    float scale = half(from, at + 108);
    for (int group = 0; group < 16; group++) {
      int low = unsigned(from, at + 96 + group % 8) >> (group / 8 * 4) & 15;
      int high = unsigned(from, at + 104 + group % 4) >> (group / 4 * 2) & 3;
      float groupScale = scale * ((low | high << 4) - 32);
      for (int i = 16 * group; i < 16 * (group + 1); i++) {
        int third = unsigned(from, at + i % 32) >> (i / 32) & 1;
        to[i] = groupScale * (twoBits(from, at + 32, i) - (third == 1 ? 0 : 4));
      }
    }
  }

  /** The scale of one of eight groups, six bits of 12 bytes that Q4_K and Q5_K share. */
  private static int scale(MemorySegment from, long at, int group) {
    return group < 4
        ? unsigned(from, at + group) & 63
        : (unsigned(from, at + 4 + group) & 15) | ((unsigned(from, at + group - 4) >> 2) & 48);
  }

  /** The minimum of one of eight groups, beside {@link #scale}. */
  private static int least(MemorySegment from, long at, int group) {
    return group < 4
        ? unsigned(from, at + 4 + group) & 63
        : (unsigned(from, at + 4 + group) >> 4) | ((unsigned(from, at + group) >> 2) & 48);
  }

  /** Bytes: two f16 factors, 12 of scales and minima, 128 of elements. */
  private static void q4k(MemorySegment from, long at, float[] to) {
    float scale = half(from, at);
    float least = half(from, at + 2);
    for (int group = 0; group < 8; group++) {
      float groupScale = scale * scale(from, at + 4, group);
      float groupLeast = least * least(from, at + 4, group);
      for (int i = 0; i < 32; i++) {
        int bits = unsigned(from, at + 16 + group / 2 * 32L + i) >> (group % 2 * 4) & 15;
        to[32 * group + i] = groupScale * bits - groupLeast;
      }
    }
  }

  /** Bytes: two f16 factors, 12 of scales and minima, 32 of fifth bits, 128 of elements. */
  private static void q5k(MemorySegment from, long at, float[] to) {
    float scale = half(from, at);
    float least = half(from, at + 2);
    for (int group = 0; group < 8; group++) {
      float groupScale = scale * scale(from, at + 4, group);
      float groupLeast = least * least(from, at + 4, group);
      for (int i = 0; i < 32; i++) {
        int low = unsigned(from, at + 48 + group / 2 * 32L + i) >> (group % 2 * 4) & 15;
        int fifth = unsigned(from, at + 16 + i) >> group & 1;
        to[32 * group + i] = groupScale * (low | fifth << 4) - groupLeast;
      }
    }
  }

  /** Bytes: 128 of four low bits each, 64 of two high bits each, 16 scales, one f16 factor. */
  private static void q6k(MemorySegment from, long at, float[] to) {
    float scale = half(from, at + 208);
    for (int group = 0; group < 16; group++) {
      float groupScale = scale * from.get(ValueLayout.JAVA_BYTE, at + 192 + group);
      for (int i = 16 * group; i < 16 * (group + 1); i++) {
        int low = unsigned(from, at + i / 128 * 64L + i % 64) >> (i % 128 / 64 * 4) & 15;
        to[i] = groupScale * ((low | twoBits(from, at + 128, i) << 4) - 32);
      }
    }
  }

  private static void iq4nl(MemorySegment from, long at, float[] to) {
    float scale = half(from, at);
    for (int i = 0; i < 32; i++) {
      to[i] = scale * IQ4_VALUES[nibble(from, at + 2, i)];
    }
  }

  /** Half the scale that an exponent (E8M0) of MXFP4 stands for, as the values are doubled. */
  private static float halfScale(int exponent) {
    return Float.intBitsToFloat(exponent < 2 ? 0x00200000 << exponent : (exponent - 1) << 23);
  }

  private static void mxfp4(MemorySegment from, long at, float[] to) {
    float scale = halfScale(unsigned(from, at));
    for (int i = 0; i < 32; i++) {
      to[i] = scale * E2M1_VALUES[nibble(from, at + 1, i)];
    }
  }

  /**
   * Writes a block of MXFP4: the largest magnitude gets the largest exponent of four bits, and
   * every value becomes the nearest one. Values that a block of MXFP4 stands for stay what they
   * are.
   */
  static void writeMxfp4(float[] values, int block, MemorySegment to) {
    float largest = 0;
    for (int i = 32 * block; i < 32 * (block + 1); i++) {
      largest = Math.max(largest, Math.abs(values[i]));
    }
    int exponent = largest == 0 ? 0 : Math.max(0, Math.getExponent(largest) - 2 + 127);
    float scale = halfScale(exponent);
    long at = 17L * block;
    to.set(ValueLayout.JAVA_BYTE, at, (byte) exponent);
    for (int i = 0; i < 16; i++) {
      int low = nearest(values[32 * block + i], scale);
      int high = nearest(values[32 * block + 16 + i], scale);
      to.set(ValueLayout.JAVA_BYTE, at + 1 + i, (byte) (low | high << 4));
    }
  }

  private static int nearest(float value, float scale) {
    int nearest = 0;
    for (int code = 1; code < E2M1_VALUES.length; code++) {
      if (Math.abs(E2M1_VALUES[code] * scale - value)
          < Math.abs(E2M1_VALUES[nearest] * scale - value)) {
        nearest = code;
      }
    }
    return nearest;
  }
}
