package dev.laco.measure;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.Compute;
import dev.laco.backend.Backend;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.backend.cpu.CpuBackend;
import dev.laco.model.DType;
import java.util.Arrays;
import java.util.Collections;
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
    float[][] rows = Collections.nCopies(100, logits).toArray(float[][]::new);
    for (int i = 0; i < DRAWS / rows.length; i++) {
      for (int token : chosen(sampler, rows)) {
        counts[token]++;
      }
    }
    return counts;
  }

  private static int[] chosen(Sampler sampler, float[]... rows) {
    try (Backend backend = CpuBackend.open(Compute.AUTO, 2);
        TensorArena arena = backend.arena()) {
      Tensor logits = arena.allocate(DType.F32, rows.length, rows[0].length);
      for (int i = 0; i < rows.length; i++) {
        backend.upload(rows[i], logits.slice(i, i + 1));
      }
      return sampler.choose(backend, logits);
    }
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
    float[][] rows = {logits(), new float[2100], logits(), new float[2100]};
    Random random = new Random(2);
    Sampler alone = new Sampler(1, 1, random);
    int[] expected = Arrays.stream(rows).mapToInt(row -> chosen(alone, row)[0]).toArray();
    assertArrayEquals(expected, chosen(new Sampler(1, 1, new Random(2)), rows));
    assertTrue(expected[1] != expected[3], Arrays.toString(expected));
  }

  @Test
  void atTemperatureZeroTheFirstOfTheLargestIsChosen() {
    float[] logits = logits();
    logits[2048] = 2;
    assertArrayEquals(
        new int[] {1024, 0}, chosen(Sampler.GREEDY, logits, new float[logits.length]));
  }
}
