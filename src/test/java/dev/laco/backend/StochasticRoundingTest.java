package dev.laco.backend;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.model.DType;
import java.util.Set;
import java.util.TreeSet;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** The mean of numbers that were rounded at random is the number itself. */
class StochasticRoundingTest {
  private static final int COUNT = 40_000;

  /** A number that lies a share of the way from one value of 16 bits to the next. */
  @ParameterizedTest
  @CsvSource({
    "BF16, 1, 0x1p-7, 0.3", "BF16, -1, -0x1p-7, 0.01", "BF16, 0x1p-130, 0x1p-133, 0.5",
    "F16, 1, 0x1p-10, 0.3", "F16, -300, -0.25, 0.7", "F16, 0x1p-15, 0x1p-24, 0.3",
    "F16, 0, 0x1p-24, 0.25"
  })
  void theMeanIsTheNumber(DType dtype, float below, float gap, double share) {
    float x = (float) (below + share * gap);
    Set<Float> values = new TreeSet<>();
    int up = 0;
    long key = StochasticRounding.key(1, 2, 3);
    for (long i = 0; i < COUNT; i++) {
      float rounded = StochasticRounding.round(dtype, x, StochasticRounding.bits(key, i));
      values.add(rounded);
      up += rounded == below ? 0 : 1;
    }
    assertEquals(new TreeSet<>(Set.of(below, below + gap)), values);
    double deviation = Math.sqrt(share * (1 - share) / COUNT);
    assertEquals(share, (double) up / COUNT, 5 * deviation);
  }

  @ParameterizedTest
  @CsvSource({
    "BF16, 1.5",
    "BF16, -0.0",
    "BF16, NaN",
    "BF16, -Infinity",
    "F16, 1.5",
    "F16, 65504",
    "F16, 0x1p-24",
    "F16, -0.0",
    "F16, NaN",
    "F16, Infinity",
    "F32, 0.1"
  })
  void valuesStay(DType dtype, float x) {
    for (int random : new int[] {0, 1, -1, 0x7fffffff}) {
      assertEquals(x, StochasticRounding.round(dtype, x, random));
    }
  }

  /** Neighbours in any of the numbers that random bits come from have nothing in common. */
  @Test
  void bitsDifferByEverythingTheyComeFrom() {
    long key = StochasticRounding.key(0, 1, 0);
    for (long other :
        new long[] {
          StochasticRounding.key(1, 1, 0),
          StochasticRounding.key(0, 2, 0),
          StochasticRounding.key(0, 1, 1)
        }) {
      assertNotEquals(key, other);
      assertIndependent(i -> StochasticRounding.bits(key, i), i -> bits(other, i));
    }
    assertIndependent(i -> bits(key, i), i -> bits(key, i + 1));
    assertIndependent(i -> bits(key, i), i -> bits(key, i + (1L << 32)));
  }

  private static int bits(long key, long element) {
    return StochasticRounding.bits(key, element);
  }

  /** Draws the random bits of an element. */
  private interface Bits {
    int of(long element);
  }

  private static void assertIndependent(Bits first, Bits second) {
    long same = 0;
    for (long i = 0; i < COUNT; i++) {
      same += Integer.bitCount(~(first.of(i) ^ second.of(i)));
    }
    double share = (double) same / (32L * COUNT);
    assertTrue(Math.abs(share - 0.5) < 5 * 0.5 / Math.sqrt(32.0 * COUNT), () -> "share " + share);
  }
}
