package dev.laco.backend;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.model.DType;
import dev.laco.model.HostTensor;
import dev.laco.model.LogitSpec;
import dev.laco.model.PackedSequences;
import java.util.Arrays;
import java.util.List;
import java.util.OptionalInt;
import java.util.function.Function;
import java.util.stream.DoubleStream;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** What every backend must do as {@link ScoringOps}. */
public abstract class ScoringContract extends Contract {
  /** Most heads have plain logits; some scale them or cap them, or have rows of length 1. */
  private static final List<Form> FORMS =
      List.of(
          Form.PLAIN,
          new Form(false, new LogitSpec(0.5, 0)),
          new Form(false, new LogitSpec(1.5, 2)),
          Form.UNIT);

  /** A head without its weight. */
  private record Form(boolean unitRows, LogitSpec spec) {
    static final Form PLAIN = new Form(false, LogitSpec.PLAIN);
    static final Form UNIT = new Form(true, LogitSpec.PLAIN);

    Head of(Tensor weight) {
      return new Head(weight, unitRows, spec);
    }

    /** A soft-cap makes logits smaller, but not the errors of the products that it caps. */
    Form uncapped() {
      return new Form(unitRows, new LogitSpec(spec.scale(), 0));
    }
  }

  /**
   * Scale and cap follow the product, whatever the type of the head: those of F32 stand for all.
   */
  private static List<Form> forms(DType head) {
    return head == DType.F32 ? FORMS : List.of(Form.PLAIN, Form.UNIT);
  }

  protected ScoringContract(TestedBackend tested) {
    super(tested);
  }

  /** Up to the chosen token, but not up to the one before, probabilities pass the share. */
  @ParameterizedTest
  @CsvSource({"1,0", "3,1", "33,0.5", "1023,1", "1024,0.7", "1025,2", "5000,1", "40001,0.1"})
  void samplesTokensByTheirProbabilities(int vocabulary, double temperature) {
    double[] shares = {0, 0.5, 0.999999999, 0.123, 0.9, 0.7};
    float[] logits = normal(shares.length * vocabulary);
    for (int i = 0; i < logits.length; i++) {
      logits[i] = i % 5 == 3 ? Float.NEGATIVE_INFINITY : 3 * logits[i];
    }
    int[] tokens = sampled(logits, vocabulary, temperature, shares);
    for (int r = 0; r < shares.length; r++) {
      double[] row = new double[vocabulary];
      for (int v = 0; v < vocabulary; v++) {
        row[v] = logits[r * vocabulary + v];
      }
      int token = tokens[r];
      if (Arrays.stream(row).allMatch(Double::isInfinite)) {
        assertEquals(0, token);
        continue;
      }
      double most = Arrays.stream(row).max().orElseThrow();
      if (temperature == 0) {
        assertEquals(
            IntStream.range(0, vocabulary).filter(v -> row[v] == most).min(),
            OptionalInt.of(token));
        continue;
      }
      double[] weights =
          Arrays.stream(row).map(logit -> Math.exp((logit - most) / temperature)).toArray();
      double total = Arrays.stream(weights).sum();
      double before = Arrays.stream(weights, 0, token).sum() / total;
      double share = shares[r];
      String what = "row " + r + ", token " + token + " of " + vocabulary;
      assertTrue(weights[token] > 0, what);
      assertTrue(before <= share + 1e-6, what);
      assertTrue(before + weights[token] / total > share - 1e-6, what);
    }
  }

  @Test
  void theMostLikelyTokenIsTheFirstOfTheLargest() {
    float[] logits = new float[3 * 3000];
    logits[1500] = logits[1499] = logits[2900] = 2;
    Arrays.fill(logits, 3000, 6000, Float.NEGATIVE_INFINITY);
    logits[6000 + 2999] = 1e30f;
    assertArrayEquals(new int[] {1499, 0, 2999}, sampled(logits, 3000, 0, new double[3]));
    // So large a logit leaves nothing to the others.
    double[] shares = {0, 0.999, 0.5};
    int[] tokens = sampled(logits, 3000, 1, shares);
    assertEquals(0, tokens[0]);
    assertEquals(2999, tokens[2]);
  }

  /** Logits that are no numbers give any token of the vocabulary. */
  @ParameterizedTest
  @ValueSource(floats = {Float.NaN, Float.POSITIVE_INFINITY, Float.NEGATIVE_INFINITY})
  void samplesTokensOfTheVocabularyFromDamagedLogits(float damage) {
    for (int vocabulary : new int[] {1, 5, 1024, 2500}) {
      for (double temperature : new double[] {0, 1}) {
        float[] logits = normal(3 * vocabulary);
        logits[0] = damage;
        Arrays.fill(logits, vocabulary, 2 * vocabulary, damage);
        logits[3 * vocabulary - 1] = damage;
        int[] tokens = sampled(logits, vocabulary, temperature, new double[] {0, 0.5, 0.99});
        for (int token : tokens) {
          assertTrue(token >= 0 && token < vocabulary, () -> token + " of " + vocabulary);
        }
      }
    }
  }

  private int[] sampled(float[] logits, int vocabulary, double temperature, double[] shares) {
    try (Run run = new Run(backend)) {
      int[] tokens = new int[shares.length];
      run.on.sample(run.tensor(logits, shares.length, vocabulary), temperature, shares, tokens);
      return tokens;
    }
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 7, 31, 32, 33, 127, 257, 576, 5000})
  void measuresTheCosineOfEachSequence(int width) {
    PackedSequences tokens =
        tokens(new int[] {1}, new int[] {2, 3, 4, 5, 6, 7, 8}, new int[] {9, 1});
    float[] a = normal(10 * width);
    float[] b = normal(10 * width);
    for (int i = 0; i < width; i++) {
      b[i] = a[i];
    }
    cosines(tokens, a, b, width);
  }

  @Test
  void measuresTheCosinesOfManyCandidatesAtOnce() {
    PackedSequences tokens = tokens(new int[] {1, 2, 3}, new int[] {4});
    cosines(tokens, normal(4 * 33), normal(5 * 4 * 33), 33);
  }

  @Test
  void cosineOfNothingIsZeroAndNaNStaysInItsSequence() {
    PackedSequences tokens = tokens(new int[] {1}, new int[] {2}, new int[] {3});
    float[] a = normal(3 * 50);
    float[] b = normal(3 * 50);
    Arrays.fill(a, 0, 50, 0);
    b[120] = Float.NaN;
    cosines(tokens, a, b, 50);
  }

  private void cosines(PackedSequences tokens, float[] a, float[] b, int width) {
    Function<Run, double[]> cosine =
        run ->
            run.on.cosine(
                run.tensor(a, tokens.size(), width),
                run.tensor(b, b.length / width, width),
                run.batch(tokens));
    close("cosine", Tolerance.COSINE, 1, of(reference, cosine), of(backend, cosine));
  }

  @ParameterizedTest
  @CsvSource({"1,1", "2,7", "5,33", "9,257"})
  void multipliesEveryTensorWithEveryOther(int count, int width) {
    List<float[]> values = Stream.generate(() -> normal(6 * width)).limit(count).toList();
    List<HostTensor> weights =
        IntStream.range(0, count)
            .mapToObj(k -> weight(DType.values()[k % 3], 6, width, k % 2))
            .toList();
    for (int groups : new int[] {1, 3, 6}) {
      pairs(groups, width, run -> values.stream().map(v -> run.tensor(v, 6, width)).toList());
      pairs(groups, width, run -> weights.stream().map(run.on::weight).toList());
    }
  }

  @Test
  void productsOfLongTensorsAreSummedInPartsAndNaNStaysInItsGroup() {
    float[] a = normal(3 * 9001);
    float[] b = normal(3 * 9001);
    b[9001] = Float.NaN;
    pairs(3, 9001, run -> List.of(run.tensor(a, 3, 9001), run.tensor(b, 3, 9001)));
  }

  private void pairs(int groups, int width, Function<Run, List<Tensor>> tensors) {
    Function<Run, double[]> products = run -> run.on.pairProducts(tensors.apply(run), groups);
    close(
        "products in " + groups,
        Tolerance.ACCUMULATED,
        6.0 * width / groups,
        of(reference, products),
        of(backend, products));
  }

  @ParameterizedTest
  @CsvSource({"1,1", "7,7", "31,33", "64,100", "33,4099"})
  void scalesNormalisesAndCapsLogits(int width, int vocabulary) {
    float[] hidden = normal(3 * width);
    hidden[0] = Float.POSITIVE_INFINITY;
    hidden[2 * width] = Float.NaN;
    for (DType dtype : DType.values()) {
      HostTensor weight = weight(dtype, vocabulary, width);
      for (Form form : FORMS) {
        double[] products =
            of(reference, run -> widen(run.download(logits(run, hidden, weight, form.uncapped()))));
        double largest =
            Arrays.stream(products).filter(Double::isFinite).map(Math::abs).reduce(1, Math::max);
        same(
            "logits " + dtype + " " + form,
            tested.product(dtype),
            largest,
            run -> logits(run, hidden, weight, form));
      }
    }
  }

  private static Tensor logits(Run run, float[] hidden, HostTensor weight, Form form) {
    int width = Math.toIntExact(weight.shape().getLast());
    long rows = hidden.length / width;
    Tensor out = run.result(rows, weight.shape().getFirst());
    run.on.logits(run.tensor(hidden, rows, width), form.of(run.on.weight(weight)), out);
    return out;
  }

  @ParameterizedTest
  @CsvSource({"1,1", "7,7", "31,33", "64,100", "576,1025", "16,40000"})
  void scoresTheNextTokenOfEachSequence(int width, int vocabulary) {
    PackedSequences tokens =
        tokens(
            random.ints(9, 0, vocabulary).toArray(),
            new int[] {vocabulary - 1},
            new int[] {0, vocabulary - 1});
    float[] hidden = normal(12 * width);
    for (DType dtype : DType.values()) {
      HostTensor head = weight(dtype, vocabulary, width);
      float[] scaled = hidden.clone();
      for (int i = 0; i < scaled.length; i++) {
        scaled[i] *= 3 / (float) Math.sqrt(width);
      }
      // What follows the products is the same for every size.
      List<Form> forms = vocabulary > 10_000 ? List.of(Form.PLAIN) : forms(dtype);
      logProbabilities(tokens, scaled, head, forms, tested.logProbability(dtype));
    }
  }

  @Test
  void logProbabilityHoldsForHugeLogitsAndNaN() {
    PackedSequences tokens = tokens(new int[] {1, 2, 3, 4, 5}, new int[] {6, 7});
    float[] hidden = normal(7 * 16);
    for (int i = 16; i < 32; i++) {
      hidden[i] *= 1000;
    }
    hidden[5 * 16] = Float.NaN;
    // A logit of some thousands carries an absolute error of some 1e-4.
    HostTensor head = weight(DType.F32, 300, 16);
    logProbabilities(tokens, hidden, head, FORMS, Tolerance.BF16_PRODUCT);
  }

  private void logProbabilities(
      PackedSequences tokens,
      float[] hidden,
      HostTensor head,
      List<Form> forms,
      Tolerance tolerance) {
    int rows = tokens.size();
    for (Form form : forms) {
      Function<Run, double[]> score =
          run -> {
            double[] out = new double[rows];
            Tensor states = run.tensor(hidden, rows, hidden.length / rows);
            run.on.logProbability(states, form.of(run.on.weight(head)), run.batch(tokens), out);
            return out;
          };
      double[] actual = of(backend, score);
      String op = "logProbability " + head.dtype() + " " + form;
      close(op, tolerance, 1, of(reference, score), actual);
      for (int s = 0; s < tokens.sequences(); s++) {
        assertEquals(0, actual[tokens.offsets()[s + 1] - 1], "the last token has no next one");
      }
    }
  }

  @ParameterizedTest
  @CsvSource({"1,1", "7,7", "31,33", "64,100", "33,4099"})
  void measuresTheDivergenceOfEachToken(int width, int vocabulary) {
    PackedSequences tokens = tokens(new int[3], new int[1], new int[2]);
    float[] hidden = normal(6 * width);
    float[] reference = normal(6 * width);
    for (int i = 0; i < hidden.length; i++) {
      hidden[i] *= 3 / (float) Math.sqrt(width);
      reference[i] *= 3 / (float) Math.sqrt(width);
    }
    // The first row equals the reference, the second is close to it.
    System.arraycopy(reference, 0, hidden, 0, 2 * width);
    hidden[width] += 0.01f;
    for (DType dtype : DType.values()) {
      HostTensor head = weight(dtype, vocabulary, width);
      Tolerance tolerance = tested.logProbability(dtype);
      double[] found = divergences(tokens, hidden, reference, head, forms(dtype), tolerance);
      assertEquals(0, found[0], "of what is the same");
      assertTrue(Arrays.stream(found).allMatch(divergence -> divergence >= 0));
    }
  }

  /**
   * The tokens and the vocabulary are larger than what any backend computes at once. Rows repeat.
   */
  @Test
  void measuresTheDivergenceOfManyTokensInParts() {
    float[] hidden = normal(7 * 3);
    float[] states = normal(7 * 3);
    HostTensor head = weight(DType.F32, 4200, 3);
    double[] few = of(reference, divergence(tokens(new int[7]), hidden, states, head, Form.PLAIN));
    float[] manyHidden = new float[2100 * 3];
    float[] manyStates = new float[2100 * 3];
    double[] expected = new double[2100];
    for (int row = 0; row < 2100; row += 7) {
      System.arraycopy(hidden, 0, manyHidden, row * 3, 7 * 3);
      System.arraycopy(states, 0, manyStates, row * 3, 7 * 3);
      System.arraycopy(few, 0, expected, row, 7);
    }
    PackedSequences tokens = tokens(new int[2000], new int[100]);
    double[] many = of(backend, divergence(tokens, manyHidden, manyStates, head, Form.PLAIN));
    close("klDivergence of many tokens", Tolerance.LOG_PROBABILITY, 1, expected, many);
  }

  @ParameterizedTest
  @CsvSource({"3,5,4200", "700,4,70", "2100,2,30"})
  void scoresSeveralCandidatesAsOneAfterTheOther(int length, int candidates, int vocabulary) {
    int width = 3;
    PackedSequences tokens = tokens(new int[length - 1], new int[] {1});
    float[] states = normal(length * width);
    float[] all = normal(candidates * length * width);
    HostTensor head = weight(DType.F32, vocabulary, width);
    double[] together =
        of(
            backend,
            run ->
                bothScores(run, tokens, run.tensor(all, candidates * length, width), states, head));
    int rows = candidates * length;
    for (int c = 0; c < candidates; c++) {
      int from = c * length;
      float[] own = Arrays.copyOfRange(all, from * width, (from + length) * width);
      double[] alone =
          of(backend, run -> bothScores(run, tokens, run.tensor(own, length, width), states, head));
      for (int of = 0; of < 2; of++) {
        close(
            "score " + of + " of candidate " + c,
            Tolerance.LOG_PROBABILITY,
            1,
            Arrays.copyOfRange(alone, of * length, (of + 1) * length),
            Arrays.copyOfRange(together, of * rows + from, of * rows + from + length));
      }
    }
  }

  /** Log-probabilities and then divergences of all rows of candidates. */
  private static double[] bothScores(
      Run run, PackedSequences tokens, Tensor candidates, float[] reference, HostTensor weight) {
    double[] probabilities = new double[Math.toIntExact(candidates.rows())];
    double[] divergences = probabilities.clone();
    Head head = new Head(run.on.weight(weight), LogitSpec.PLAIN);
    Tensor states = run.tensor(reference, tokens.size(), candidates.columns());
    run.on.logProbability(candidates, head, run.batch(tokens), probabilities);
    run.on.klDivergence(candidates, states, head, run.batch(tokens), divergences);
    return DoubleStream.concat(Arrays.stream(probabilities), Arrays.stream(divergences)).toArray();
  }

  @Test
  void divergenceHoldsForHugeLogitsAndNaN() {
    PackedSequences tokens = tokens(new int[4], new int[2]);
    float[] hidden = normal(6 * 16);
    float[] reference = normal(6 * 16);
    for (int i = 0; i < 16; i++) {
      hidden[i] *= 1000;
      reference[16 + i] *= 1000;
    }
    hidden[2 * 16] = Float.NaN;
    reference[3 * 16] = Float.NaN;
    reference[4 * 16] = Float.POSITIVE_INFINITY;
    // A logit of some thousands carries an absolute error of some 1e-4.
    HostTensor head = weight(DType.F32, 300, 16);
    divergences(tokens, hidden, reference, head, FORMS, Tolerance.BF16_PRODUCT);
  }

  private double[] divergences(
      PackedSequences tokens,
      float[] hidden,
      float[] reference,
      HostTensor head,
      List<Form> forms,
      Tolerance tolerance) {
    double[] plain = {};
    for (Form form : forms) {
      Function<Run, double[]> measure = divergence(tokens, hidden, reference, head, form);
      double[] actual = of(backend, measure);
      String op = "klDivergence " + head.dtype() + " " + form;
      close(op, tolerance, 1, of(this.reference, measure), actual);
      plain = form.equals(Form.PLAIN) ? actual : plain;
    }
    return plain;
  }

  private static Function<Run, double[]> divergence(
      PackedSequences tokens, float[] hidden, float[] reference, HostTensor head, Form form) {
    int rows = tokens.size();
    return run -> {
      double[] out = new double[rows];
      run.on.klDivergence(
          run.tensor(hidden, rows, hidden.length / rows),
          run.tensor(reference, rows, reference.length / rows),
          form.of(run.on.weight(head)),
          run.batch(tokens),
          out);
      return out;
    };
  }

  @Test
  void refusesArgumentsThatDoNotFit() {
    try (Run run = new Run(backend)) {
      Tensor x = run.tensor(new float[12], 3, 4);
      Tensor other = run.tensor(new float[15], 3, 5);
      Head head = new Head(run.on.weight(weight(DType.F32, 5, 4)), LogitSpec.PLAIN);
      TokenBatch two = run.batch(tokens(new int[] {1, 2}));
      TokenBatch three = run.batch(tokens(new int[] {1, 2, 9}));
      refuses(() -> backend.cosine(x, other, three));
      refuses(() -> backend.cosine(x, x, two));
      refuses(() -> backend.sample(x, 1, new double[2], new int[3]));
      refuses(() -> backend.sample(x, 1, new double[3], new int[2]));
      refuses(() -> backend.sample(x, 1, new double[] {0, 1, 0}, new int[3]));
      refuses(() -> backend.sample(x, -1, new double[3], new int[3]));
      refuses(() -> backend.sample(x, Double.NaN, new double[3], new int[3]));
      refuses(() -> backend.pairProducts(List.of(x, other), 1));
      refuses(() -> backend.pairProducts(List.of(x, x), 5));
      refuses(() -> backend.logits(other, head, other));
      refuses(() -> backend.logits(x, head, x));
      refuses(() -> backend.logProbability(x, head, three, new double[3]));
      refuses(() -> backend.logProbability(x, head, two, new double[2]));
      refuses(() -> backend.klDivergence(x, other, head, three, new double[3]));
      refuses(() -> backend.klDivergence(x, x, head, two, new double[3]));
      refuses(() -> backend.klDivergence(x, x, head, three, new double[2]));
    }
  }
}
