package dev.laco.measure;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Random;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;

/** Tokens are chosen as often as their probabilities say. */
class SamplerTest {
  private static final int DRAWS = 20_000;

  /** Likely tokens lie far apart, among many that are all but impossible. */
  private static float[] logits() {
    float[] logits = new float[2100];
    Arrays.fill(logits, -60);
    logits[3] = 1;
    logits[1023] = 0;
    logits[1024] = 2;
    logits[2099] = 1.5f;
    return logits;
  }

  private static int[] counts(Sampler sampler, float[] logits) {
    int[] counts = new int[logits.length];
    List<float[]> rows = Collections.nCopies(100, logits);
    for (int i = 0; i < DRAWS / rows.size(); i++) {
      for (int token : sampler.choose(rows)) {
        counts[token]++;
      }
    }
    return counts;
  }

  @Test
  void tokensComeAsOftenAsTheirProbabilitiesSay() {
    for (double temperature : new double[] {0.5, 1, 2}) {
      float[] logits = logits();
      double[] weights =
          IntStream.range(0, logits.length)
              .mapToDouble(i -> Math.exp(logits[i] / temperature))
              .toArray();
      double total = Arrays.stream(weights).sum();
      int[] counts = counts(new Sampler(temperature, 1, new Random(1)), logits);
      for (int token : new int[] {3, 1023, 1024, 2099}) {
        double p = weights[token] / total;
        double sigma = Math.sqrt(DRAWS * p * (1 - p));
        assertEquals(DRAWS * p, counts[token], 5 * sigma, temperature + ", token " + token);
      }
    }
  }

  @Test
  void onlyTokensOfTheNucleusAreChosen() {
    // Probabilities 0.17, 0.06, 0.47 and 0.29.
    int[] counts = counts(new Sampler(1, 0.7, new Random(1)), logits());
    assertEquals(DRAWS, counts[1024] + counts[2099]);
    double p = 1 / (1 + Math.exp(-0.5));
    assertEquals(DRAWS * p, counts[1024], 5 * Math.sqrt(DRAWS * p * (1 - p)));
  }

  @Test
  void rowsTogetherGiveWhatTheyGiveOneByOne() {
    List<float[]> rows = List.of(logits(), new float[2100], logits(), new float[2100]);
    Random random = new Random(2);
    Sampler alone = new Sampler(1, 1, random);
    int[] expected = rows.stream().mapToInt(row -> alone.choose(List.of(row))[0]).toArray();
    assertArrayEquals(expected, new Sampler(1, 1, new Random(2)).choose(rows));
    assertTrue(expected[1] != expected[3], Arrays.toString(expected));
  }

  @Test
  void atTemperatureZeroTheFirstOfTheLargestIsChosen() {
    float[] logits = logits();
    logits[2048] = 2;
    assertArrayEquals(
        new int[] {1024, 0},
        new Sampler(0, 1, new Random(0)).choose(List.of(logits, new float[9])));
  }
}
