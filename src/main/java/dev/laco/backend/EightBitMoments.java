package dev.laco.backend;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/**
 * Running means of gradients and of their squares in 8 bits each (Dettmers et al. 2022, arXiv
 * 2110.02861): a tensor is cut into blocks of 256 elements, and each block has two scales in f32,
 * its largest magnitude of means and of squares.
 *
 * <p>Codes are nonlinear, as dynamic quantisation has them: with the place {@code e} of the highest
 * bit of the last {@code b} bits of a code, and the share {@code f}, in {@code [0, 1)}, that the
 * bits behind it are of {@code 2^e}, a code stands for {@code 10^(e - b + 1) (0.1 + 0.9 (f + 2^-e /
 * 2))} of the scale. Code 0 stands for 0. Squares have {@code b = 8}; means {@code b = 7}, behind a
 * sign. A number gets the code in whose part of its decade it lies; a square that is not 0 never
 * gets code 0, since a step divides by its root.
 *
 * <p>A block is a row of 130 words: the scale of means, that of squares, 256 codes of means, and
 * those of 256 squares. Elements that the last block lacks have code 0. A row of zeros stands for
 * zeros.
 */
public final class EightBitMoments {
  /** Elements of a block. */
  public static final int BLOCK = 256;

  /** Words of 32 bits that a block takes. */
  public static final int ROW = 2 + 2 * BLOCK / Integer.BYTES;

  private static final int MEAN_BITS = 7;
  private static final int SQUARE_BITS = 8;
  private static final int SIGN = 1 << MEAN_BITS;
  private static final long MEAN_CODES = 2L * Float.BYTES;
  private static final long SQUARE_CODES = MEAN_CODES + BLOCK;

  private final MemorySegment row;

  /**
   * The running means of one block.
   *
   * @param row {@code [1, 130]}
   */
  public EightBitMoments(Tensor row) {
    this.row = MemoryTensor.of(row).data();
  }

  /** The number of blocks of a tensor. */
  public static long blocks(long elements) {
    return Math.ceilDiv(elements, BLOCK);
  }

  /** At most the bytes of so many tensors with so many elements together. */
  public static long bytes(long elements, long tensors) {
    return (elements / BLOCK + tensors) * ROW * Float.BYTES;
  }

  /** The running mean of gradients, element by element. */
  public double[] means() {
    return values(0, MEAN_CODES, MEAN_BITS);
  }

  /** The running mean of their squares, element by element. */
  public double[] squares() {
    return values(1, SQUARE_CODES, SQUARE_BITS);
  }

  private double[] values(int scale, long codes, int bits) {
    double[] values = new double[BLOCK];
    double largest = row.getAtIndex(ValueLayout.JAVA_FLOAT_UNALIGNED, scale);
    for (int i = 0; i < BLOCK; i++) {
      int code = Byte.toUnsignedInt(row.get(ValueLayout.JAVA_BYTE, codes + i));
      int magnitude = code & ((1 << bits) - 1);
      values[i] = (code == magnitude ? 1 : -1) * largest * value(magnitude, bits);
    }
    return values;
  }

  private static double value(int magnitude, int bits) {
    if (magnitude == 0) {
      return 0;
    }
    int count = Integer.highestOneBit(magnitude);
    double share = (magnitude - count + 0.5) / count;
    return Math.pow(10, Integer.numberOfTrailingZeros(count) - bits + 1) * (0.1 + 0.9 * share);
  }

  /** Replaces both running means, of 256 elements each. */
  public void set(double[] means, double[] squares) {
    float mean = setLargest(0, means);
    float square = setLargest(1, squares);
    for (int i = 0; i < BLOCK; i++) {
      int sign = means[i] < 0 ? SIGN : 0;
      int code = code(Math.abs(means[i]), mean, MEAN_BITS, 0);
      row.set(ValueLayout.JAVA_BYTE, MEAN_CODES + i, (byte) (code | sign));
      int least = squares[i] > 0 ? 1 : 0;
      row.set(
          ValueLayout.JAVA_BYTE,
          SQUARE_CODES + i,
          (byte) code(squares[i], square, SQUARE_BITS, least));
    }
  }

  /** Sets a scale, which ignores what is no number. */
  private float setLargest(int scale, double[] values) {
    float largest = 0;
    for (double value : values) {
      if (Math.abs(value) > largest) {
        largest = (float) Math.abs(value);
      }
    }
    row.setAtIndex(ValueLayout.JAVA_FLOAT_UNALIGNED, scale, largest);
    return largest;
  }

  private static int code(double value, float largest, int bits, int least) {
    double share = largest < Float.MIN_NORMAL ? 0 : value / largest;
    if (!(share >= Math.pow(10, -bits))) {
      return least;
    }
    int e = 0;
    while (e + 1 < bits && share >= Math.pow(10, e + 1 - bits)) {
      e++;
    }
    int count = 1 << e;
    double part = (share * Math.pow(10, bits - 1 - e) - 0.1) / 0.9 * count;
    return count + (int) Math.max(0, Math.min(part, count - 1));
  }
}
