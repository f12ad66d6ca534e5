package dev.laco.evaluate;

import java.util.ArrayList;
import java.util.List;
import java.util.stream.IntStream;

/**
 * Python's {@code random.Random}, by which lm-evaluation-harness draws the examples of a prompt:
 * the Mersenne Twister MT19937 (Matsumoto and Nishimura 1998), seeded by {@code init_by_array}, and
 * the method {@code sample}.
 */
final class PythonRandom {
  private static final int SIZE = 624;
  private static final int SHIFT = 397;
  private static final int UPPER = 0x8000_0000;
  private static final int LOWER = 0x7fff_ffff;
  private static final int MATRIX = 0x9908_b0df;

  /** {@code sample} keeps a list of all places up to this number of places. */
  private static final int SMALL = 21;

  private final int[] state = new int[SIZE];
  private int index = SIZE;

  /** {@code random.Random(seed)} of a seed that is not negative. */
  PythonRandom(int seed) {
    fill(19_650_218);
    for (int i = 1, k = 0; k < SIZE; k++) {
      state[i] = (state[i] ^ mixed(i) * 1_664_525) + seed;
      i = next(i);
    }
    for (int i = 2, k = 1; k < SIZE; k++) {
      state[i] = (state[i] ^ mixed(i) * 1_566_083_941) - i;
      i = next(i);
    }
    state[0] = UPPER;
  }

  private void fill(int first) {
    state[0] = first;
    for (int i = 1; i < SIZE; i++) {
      state[i] = 1_812_433_253 * mixed(i) + i;
    }
  }

  private int mixed(int i) {
    return state[i - 1] ^ (state[i - 1] >>> 30);
  }

  private int next(int i) {
    if (i + 1 < SIZE) {
      return i + 1;
    }
    state[0] = state[SIZE - 1];
    return 1;
  }

  /** The next 32 random bits. */
  private int bits() {
    if (index == SIZE) {
      for (int i = 0; i < SIZE; i++) {
        int y = (state[i] & UPPER) | (state[(i + 1) % SIZE] & LOWER);
        state[i] = state[(i + SHIFT) % SIZE] ^ (y >>> 1) ^ ((y & 1) * MATRIX);
      }
      index = 0;
    }
    int y = state[index++];
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c_5680;
    y ^= (y << 15) & 0xefc6_0000;
    return y ^ (y >>> 18);
  }

  /** A number from 0 to {@code bound - 1}. */
  private int below(int bound) {
    int shift = Integer.numberOfLeadingZeros(bound);
    int drawn = bits() >>> shift;
    while (drawn >= bound) {
      drawn = bits() >>> shift;
    }
    return drawn;
  }

  /** {@code sample(range(count), wanted)}: different numbers from 0 to {@code count - 1}. */
  List<Integer> sample(int count, int wanted) {
    double log = Math.log(wanted * 3.0) / Math.log(4);
    int small = SMALL + (wanted > 5 ? (int) Math.pow(4, Math.ceil(log)) : 0);
    List<Integer> chosen = new ArrayList<>();
    if (count <= small) {
      int[] pool = IntStream.range(0, count).toArray();
      for (int i = 0; i < wanted; i++) {
        int place = below(count - i);
        chosen.add(pool[place]);
        pool[place] = pool[count - i - 1];
      }
      return chosen;
    }
    while (chosen.size() < wanted) {
      int place = below(count);
      if (!chosen.contains(place)) {
        chosen.add(place);
      }
    }
    return chosen;
  }
}
