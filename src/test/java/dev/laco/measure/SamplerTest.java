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
import java.util.BitSet;
import java.util.Collections;
import java.util.Random;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Tokens are chosen as often as their probabilities say. */
class SamplerTest {
  private static final int DRAWS = 20_000;

  /** Of a text whose first token came twice. */
  private static final BitSet TEXT = BitSet.valueOf(new long[] {0b10101});

  private static final float[] TEN = {2, 1.5f, -0.5f, 0.25f, 1, -1, 0.75f, 0.5f, -2, 1.25f};

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
      return sampler.choose(backend, logits, Collections.nCopies(rows.length, TEXT));
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
      int[] counts = counts(Sampler.of(temperature, new Random(1)), logits);
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
    int[] counts = counts(new Sampler(1, 0, 0.7, 0, 1, new Random(1)), logits());
    assertEquals(DRAWS, counts[1024] + counts[2099]);
    double p = 1 / (1 + Math.exp(-0.5));
    assertEquals(DRAWS * p, counts[1024], 5 * Math.sqrt(DRAWS * p * (1 - p)));
  }

  @Test
  void rowsTogetherGiveWhatTheyGiveOneByOne() {
    float[][] rows = {logits(), new float[2100], logits(), new float[2100]};
    Random random = new Random(2);
    Sampler alone = Sampler.of(1, random);
    int[] expected = Arrays.stream(rows).mapToInt(row -> chosen(alone, row)[0]).toArray();
    assertArrayEquals(expected, chosen(Sampler.of(1, new Random(2)), rows));
    assertTrue(expected[1] != expected[3], Arrays.toString(expected));
  }

  @Test
  void atTemperatureZeroTheFirstOfTheLargestIsChosen() {
    float[] logits = logits();
    logits[2048] = 2;
    assertArrayEquals(
        new int[] {1024, 0}, chosen(Sampler.GREEDY, logits, new float[logits.length]));
  }

  /**
   * Probabilities by transformers 5.24: RepetitionPenaltyLogitsProcessor on the tokens 0, 2, 4 and
   * 0, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper and MinPLogitsWarper, one behind
   * the other, then softmax.
   */
  @ParameterizedTest
  @CsvSource({
    "0.5, 3, 1, 0, 1, 0.6285 0.2312 0 0 0 0 0 0 0 0.1402",
    "2, 0, 0.6, 0, 1, 0.2772 0.2159 0 0 0.1681 0 0.1484 0 0 0.1905",
    "2, 0, 1, 0.55, 1, 0.3255 0.2535 0 0 0.1974 0 0 0 0 0.2237",
    "0.7, 0, 1, 0, 1.5, 0.2179 0.2765 0.0111 0.0464 0.0841 0.0078 0.0947 0.0663 0.0019 0.1935",
    "2, 4, 0.7, 0, 1, 0.4055 0.3158 0 0 0 0 0 0 0 0.2787",
    "1.5, 6, 0.9, 0.6, 2, 0.2261 0.3155 0 0 0 0 0.1914 0 0 0.2671"
  })
  void tokensComeAsOftenAsByTransformers(
      double temperature, int topK, double topP, double minP, double penalty, String shares) {
    int[] counts = counts(new Sampler(temperature, topK, topP, minP, penalty, new Random(1)), TEN);
    double[] expected = Arrays.stream(shares.split(" ")).mapToDouble(Double::parseDouble).toArray();
    for (int token = 0; token < TEN.length; token++) {
      double p = expected[token];
      double sigma = Math.sqrt(DRAWS * p * (1 - p));
      assertEquals(DRAWS * p, counts[token], 5 * sigma, "token " + token);
    }
  }

  /** As transformers, where llama.cpp takes the first of equally likely ones. */
  @Test
  void tokensAsLikelyAsTheLastOfTopKAreChosenToo() {
    float[] logits = {0, 1, -1, 0, 2};
    int[] counts = counts(new Sampler(1, 3, 1, 0, 1, new Random(1)), logits);
    assertEquals(0, counts[2]);
    double p = 1 / (2 + Math.exp(1) + Math.exp(2));
    double sigma = Math.sqrt(DRAWS * p * (1 - p));
    assertEquals(DRAWS * p, counts[0], 5 * sigma);
    assertEquals(DRAWS * p, counts[3], 5 * sigma);
  }

  @Test
  void aPenaltyChangesTheLikeliestToken() {
    // By transformers 2 becomes 0.8 and 1 becomes 0.4, so that 1.5 is the largest.
    Sampler sampler = new Sampler(0, 0, 1, 0, 2.5, new Random(1));
    assertArrayEquals(new int[] {1, 1}, chosen(sampler, TEN, TEN));
    // 2 becomes 0.8, as much as tokens 1 and 3 have: the lowest id of the three.
    assertArrayEquals(new int[] {0}, chosen(sampler, new float[] {2, 0.8f, -1, 0.8f, 0, 0}));
  }
}
