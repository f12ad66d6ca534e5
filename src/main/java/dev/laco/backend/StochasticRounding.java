package dev.laco.backend;

import dev.laco.model.DType;

/**
 * Rounding up or down at random, so that the mean of many roundings is the number itself (Gupta et
 * al. 2015, "Deep Learning with Limited Numerical Precision"). A weight of 16 bits that is trained
 * without a copy in f32 then moves by steps that are smaller than its last place.
 *
 * <p>Random numbers are a hash of a key and the index of an element: the same on every device,
 * whatever was computed before.
 */
public final class StochasticRounding {
  /** An odd number whose multiples are spread evenly: 2^64 divided by the golden ratio. */
  private static final long SPREAD = 0x9e3779b97f4a7c15L;

  /** Likewise of 2^32. */
  private static final int SPREAD_OF_WORDS = 0x9e3779b9;

  private StochasticRounding() {}

  /**
   * A key for the elements of one tensor in one step.
   *
   * @param step number of the step
   * @param tensor number of the tensor
   */
  public static long key(long seed, int step, int tensor) {
    return scrambled(scrambled(scrambled(seed) + step * SPREAD) + tensor * SPREAD);
  }

  /** The finalizer of SplitMix64 (Steele et al. 2014). */
  private static long scrambled(long x) {
    long y = (x ^ (x >>> 30)) * 0xbf58476d1ce4e5b9L;
    y = (y ^ (y >>> 27)) * 0x94d049bb133111ebL;
    return y ^ (y >>> 31);
  }

  /** 32 random bits for an element. */
  public static int bits(long key, long element) {
    int low = (int) key + (int) (element >>> 32) * SPREAD_OF_WORDS;
    return scrambled(scrambled((int) element ^ low) + (int) (key >>> 32));
  }

  /** The finalizer of MurmurHash3. */
  private static int scrambled(int x) {
    int y = (x ^ (x >>> 16)) * 0x85ebca6b;
    y = (y ^ (y >>> 13)) * 0xc2b2ae35;
    return y ^ (y >>> 16);
  }

  /**
   * The value of a dtype next to {@code x} on the side that random bits choose; {@code x} itself
   * where it is one, infinite or no number, and for f32.
   */
  public static float round(DType dtype, float x, int random) {
    int bits = Float.floatToRawIntBits(x);
    if (!Float.isFinite(x)) {
      return x;
    }
    return switch (dtype) {
      case F32 -> x;
      case BF16 -> Float.intBitsToFloat((bits + (random >>> 16)) & 0xffff0000);
      case F16 ->
          Math.abs(x) < 0x1p-14f
              // Multiples of 2^-24.
              ? Math.copySign(
                  (float) Math.floor(Math.abs(x) * 0x1p24f + (random >>> 9) * 0x1p-23f) * 0x1p-24f,
                  x)
              : Float.intBitsToFloat((bits + (random >>> 19)) & ~0x1fff);
    };
  }
}
