package dev.laco.backend;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.abort;

import dev.laco.model.Activation;
import dev.laco.model.ClampedGate;
import dev.laco.model.DType;
import dev.laco.model.HostTensor;
import dev.laco.model.LogitSpec;
import dev.laco.model.NormSpec;
import dev.laco.model.PackedSequences;
import dev.laco.model.RotaryPairs;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.function.Function;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

/** What every backend must do as {@link TrainingOps}. */
public abstract class TrainingContract extends Contract {
  protected TrainingContract(TestedBackend tested) {
    super(tested);
  }

  @BeforeEach
  void trains() {
    String missing = backend.missingForTraining();
    if (missing != null) {
      abort(missing);
    }
  }

  @ParameterizedTest
  @CsvSource({
    "1,1,1,F32",
    "1,7,33,BF16",
    "3,17,9,F16",
    "5,64,31,BF16",
    "33,65,130,F32",
    "70,96,48,F16",
    "129,40,65,BF16",
    "300,33,17,F32",
    "300,33,17,BF16",
    "300,96,48,F16"
  })
  void multipliesGradientsByWeights(int rows, int outputs, int inputs, DType dtype) {
    float[] gradient = normal(rows * outputs);
    float[] sums = normal(rows * inputs);
    HostTensor weight = weight(dtype, outputs, inputs, 2);
    for (boolean add : new boolean[] {false, true}) {
      same(
          "linearGradient",
          tested.product(dtype),
          run -> {
            Tensor out = run.tensor(sums, rows, inputs);
            run.on
                .training()
                .linearGradient(
                    run.tensor(gradient, rows, outputs), run.on.weight(weight), add, out);
            return out;
          });
    }
  }

  @ParameterizedTest
  @CsvSource({"3,33,17", "33,48,40", "129,40,65"})
  void multipliesGradientsThatAreRoundedAlready(int rows, int outputs, int inputs) {
    float[] gradient = normal(rows * outputs);
    float[] sums = normal(rows * inputs);
    for (DType dtype : DType.values()) {
      HostTensor weight = weight(dtype, outputs, inputs, 64);
      double[][] values =
          of(
              backend,
              run -> {
                TrainingOps ops = run.on.training();
                Tensor matrix = run.on.weight(weight);
                Tensor wide = run.tensor(gradient, rows, outputs);
                Tensor expected = run.tensor(sums, rows, inputs);
                ops.linearGradient(wide, matrix, true, expected);
                Tensor actual = run.tensor(sums, rows, inputs);
                ops.linearGradient(
                    run.rounded(wide, ops.gradientType(matrix)), matrix, true, actual);
                return new double[][] {widen(run.download(expected)), widen(run.download(actual))};
              });
      close("linearGradient " + dtype, Tolerance.EXACT, 1, values[0], values[1]);
    }
  }

  @ParameterizedTest
  @CsvSource({"1,1", "3,7", "40,15", "7,16", "100,33", "17,63", "130,257", "9,4097"})
  void addsColumns(int rows, int width) {
    float[] x = normal(rows * width);
    float[] sums = normal(width);
    x[width / 2] = Float.NaN;
    same(
        "addColumns",
        Tolerance.ACCUMULATED,
        run -> {
          Tensor out = run.tensor(sums, 1, width);
          run.on.training().addColumns(run.tensor(x, rows, width), out);
          return out;
        });
  }

  @ParameterizedTest
  @CsvSource({
    "1,1,F32",
    "3,7,BF16",
    "5,16,F16",
    "40,31,F32",
    "9,65,BF16",
    "130,64,F32",
    "7,576,BF16",
    "3,4096,F16"
  })
  void differentiatesRmsNorm(int rows, int width, DType dtype) {
    float[] x = normal(rows * width);
    float[] gradient = normal(rows * width);
    float[] sums = normal(width);
    HostTensor weight = weight(dtype, 1, width);
    for (boolean inPlace : new boolean[] {false, true}) {
      sameEach(
          "rmsNormGradient",
          Tolerance.ACCUMULATED,
          run -> {
            Tensor from = run.tensor(gradient, rows, width);
            Tensor out = inPlace ? from : run.result(rows, width);
            Tensor weightGradient = run.tensor(sums, 1, width);
            run.on
                .training()
                .rmsNormGradient(
                    run.tensor(x, rows, width),
                    run.on.weight(weight),
                    // Of a row of one element the gradient is a difference of equal numbers.
                    new NormSpec(width == 1 ? 1 : EPS, 1),
                    from,
                    weightGradient,
                    out);
            return List.of(out, weightGradient);
          });
    }
  }

  @ParameterizedTest
  @CsvSource({
    "1,1,1,F32",
    "6,7,3,BF16",
    "5,16,1,F16",
    "40,31,4,F32",
    "9,65,1,BF16",
    "130,64,2,F32",
    "3,4096,1,F16"
  })
  void differentiatesLayerNorm(int rows, int width, int sets, DType dtype) {
    float[] x = normal(rows * width);
    float[] gradient = normal(rows * width);
    float[] sums = normal(sets * width);
    HostTensor weight = weight(dtype, sets, width);
    for (boolean biased : new boolean[] {false, true}) {
      sameEach(
          "layerNormGradient",
          Tolerance.ACCUMULATED,
          run -> {
            Tensor from = run.tensor(gradient, rows, width);
            Tensor out = biased ? from : run.result(rows, width);
            Tensor weightGradient = run.tensor(sums, sets, width);
            Tensor biasGradient = run.tensor(sums, sets, width);
            run.on
                .training()
                .layerNormGradient(
                    run.tensor(x, rows, width),
                    run.on.weight(weight),
                    // Of a row of one element the variance is 0.
                    new NormSpec(width == 1 ? 1 : EPS, biased ? 1 : 0),
                    from,
                    weightGradient,
                    biased ? biasGradient : null,
                    out);
            return List.of(out, weightGradient, biasGradient);
          });
    }
  }

  @ParameterizedTest
  @CsvSource({"HALVES,8,4", "NEIGHBOURS,8,4", "HALVES,80,16", "NEIGHBOURS,80,40", "HALVES,128,64"})
  void turnsBackWhatRopeHasTurned(RotaryPairs layout, int headDim, int pairs) {
    float[] x = normal(5 * 3 * headDim);
    PackedSequences tokens = tokens(new int[2], new int[3]);
    same(
        "ropeGradient",
        Tolerance.ELEMENTWISE,
        run -> {
          Tensor heads = run.tensor(x, 5, 3 * headDim);
          run.on.training().ropeGradient(heads, layout, headDim, 1, run.batch(tokens, pairs));
          return heads;
        });
    try (Run run = new Run(backend)) {
      Tensor heads = run.tensor(x, 5, 3 * headDim);
      TokenBatch batch = run.batch(tokens, pairs);
      backend.rope(heads, layout, headDim, 1, batch, heads);
      backend.training().ropeGradient(heads, layout, headDim, 1, batch);
      assertArrayEquals(x, run.download(heads), 1e-5f);
    }
  }

  @ParameterizedTest
  @CsvSource({
    // heads, key heads, width, window, softCap, alibi
    "1,1,1,0,0,false",
    "4,2,7,0,0,false",
    "4,1,16,3,0,false",
    "6,3,33,0,2,false",
    "8,8,64,20,0,true",
    "3,1,80,0,0,true",
    "2,2,128,0,5,false"
  })
  void differentiatesAttention(
      int heads, int keyHeads, int width, int window, double softCap, boolean alibi) {
    LogitSpec scores = new LogitSpec(1 / Math.sqrt(width), softCap);
    differentiatesAttention(
        new AttentionSpec(heads, keyHeads, width, window, scores, alibi, DType.F32),
        new int[] {1, 70, 5, 33});
  }

  @Test
  void differentiatesAttentionOfOneLongSequence() {
    LogitSpec scores = new LogitSpec(0.1, 0);
    differentiatesAttention(new AttentionSpec(2, 1, 64, 0, scores, DType.BF16), new int[] {200});
    differentiatesAttention(new AttentionSpec(2, 1, 64, 90, scores, DType.F16), new int[] {200});
  }

  @ParameterizedTest
  @CsvSource({
    // heads, key heads, width, window, softCap, alibi
    "4,2,16,0,0,false",
    "6,2,48,90,0,false",
    "3,1,80,0,5,true",
    "2,1,128,20,0,false",
    "2,2,144,0,0,false"
  })
  void differentiatesAttentionInBf16(
      int heads, int keyHeads, int width, int window, double softCap, boolean alibi) {
    LogitSpec scores = new LogitSpec(1 / Math.sqrt(width), softCap);
    differentiatesAttention(
        new AttentionSpec(heads, keyHeads, width, window, scores, alibi, DType.BF16),
        new int[] {1, 70, 5, 130});
  }

  private void differentiatesAttention(AttentionSpec spec, int[] lengths) {
    PackedSequences sequences =
        PackedSequences.of(Arrays.stream(lengths).mapToObj(int[]::new).toList());
    int rows = sequences.size();
    int width = spec.numHeads() * spec.headDim();
    int keyWidth = spec.numKeyValueHeads() * spec.headDim();
    float[] query = normal(rows * width);
    float[] key = normal(rows * keyWidth);
    float[] value = normal(rows * keyWidth);
    float[] gradient = normal(rows * width);
    boolean sinks = spec.slidingWindow() > 0;
    float[] ofHeads = normal(spec.numHeads());
    sameEach(
        "attentionGradient in " + spec.products(),
        tested.attentionGradient(spec),
        run -> {
          TokenBatch batch = run.batch(sequences);
          Tensor queries = run.tensor(query, rows, width);
          Tensor keys = run.tensor(key, rows, keyWidth);
          Tensor values = run.tensor(value, rows, keyWidth);
          Tensor out = run.result(rows, width);
          Tensor logSums = run.result(rows, spec.numHeads());
          Tensor byQuery = run.result(rows, width);
          Tensor byKey = run.result(rows, keyWidth);
          Tensor byValue = run.result(rows, keyWidth);
          TrainingOps ops = run.on.training();
          Tensor scores = sinks ? run.tensor(ofHeads, 1, spec.numHeads()) : null;
          ops.attention(queries, keys, values, scores, spec, batch, out, logSums);
          ops.attentionGradient(
              queries,
              keys,
              values,
              spec,
              batch,
              out,
              logSums,
              run.tensor(gradient, rows, width),
              byQuery,
              byKey,
              byValue);
          return List.of(out, logSums, byQuery, byKey, byValue);
        });
  }

  @ParameterizedTest
  @CsvSource({"1,4", "3,1", "7,2", "16,4", "33,5", "64,3", "130,4", "257,9"})
  void differentiatesCausalConvolution(int columns, int width) {
    float[] x = normal(84 * columns);
    float[] gradient = normal(84 * columns);
    float[] weight = normal(columns * width);
    float[] sums = normal(columns * width);
    for (boolean byWeight : new boolean[] {true, false}) {
      sameEach(
          "causalConvolutionGradient",
          Tolerance.ACCUMULATED,
          run -> {
            Tensor out = run.result(84, columns);
            Tensor weightGradient = run.tensor(sums, columns, width);
            run.on
                .training()
                .causalConvolutionGradient(
                    run.tensor(x, 84, columns),
                    run.tensor(weight, columns, width),
                    run.batch(tokens(new int[5], new int[1], new int[78])),
                    run.tensor(gradient, 84, columns),
                    byWeight ? weightGradient : null,
                    out);
            return List.of(out, weightGradient);
          });
    }
  }

  @ParameterizedTest
  @CsvSource({
    "1,1,1,1",
    "1,1,6,6",
    "2,4,8,16",
    "1,2,33,17",
    "1,3,64,128",
    "2,2,128,128",
    "1,1,256,40"
  })
  void differentiatesTheDeltaRule(int keyHeads, int valueHeads, int key, int value) {
    DeltaSpec spec = new DeltaSpec(keyHeads, valueHeads, key, value);
    Delta delta = new Delta(spec, 84);
    float[] gradient = normal(Math.toIntExact(84 * spec.values()));
    sameEach(
        "gatedDeltaGradient",
        Tolerance.ACCUMULATED,
        run -> {
          TokenBatch batch = run.batch(tokens(new int[5], new int[1], new int[78]));
          Tensor heads = delta.heads(run, 0, batch);
          Tensor decay = delta.decay(run, 0, batch);
          Tensor rate = delta.rate(run, 0, batch);
          Tensor logDecay = delta.logDecay(run);
          Tensor bias = delta.decayBias(run);
          Tensor out = run.result(84, spec.values());
          Tensor errors = run.result(84, spec.values());
          Tensor byHeads = run.result(84, spec.all());
          Tensor byDecay = run.result(84, valueHeads);
          Tensor byRate = run.result(84, valueHeads);
          Tensor byLogDecay = run.result(84, valueHeads);
          TrainingOps ops = run.on.training();
          ops.gatedDelta(heads, decay, rate, logDecay, bias, spec, batch, out, errors);
          ops.gatedDeltaGradient(
              heads,
              decay,
              rate,
              logDecay,
              bias,
              spec,
              batch,
              errors,
              run.tensor(gradient, 84, spec.values()),
              byHeads,
              byDecay,
              byRate,
              byLogDecay);
          return List.of(out, errors, byHeads, byDecay, byRate, byLogDecay);
        });
  }

  @ParameterizedTest
  @EnumSource(Activation.class)
  void differentiatesGatedActivation(Activation activation) {
    for (int n : new int[] {1, 15, 16, 17, 257}) {
      float[] gate = normal(2 * n);
      float[] up = normal(2 * n);
      float[] gradient = normal(2 * n);
      gate[0] = 30;
      gate[n] = -30;
      for (boolean gated : new boolean[] {false, true}) {
        sameEach(
            "gatedGradients",
            Tolerance.ACCUMULATED,
            run -> {
              Tensor gates = run.tensor(gate, 2, n);
              Tensor ups = run.tensor(up, 2, n);
              run.on
                  .training()
                  .gatedGradients(
                      activation, gates, gated ? ups : null, run.tensor(gradient, 2, n));
              return List.of(gates, ups);
            });
      }
    }
  }

  @ParameterizedTest
  @EnumSource(Activation.class)
  void gradientsHoldAtTheEndsOfTheRange(Activation activation) {
    for (float gate : ENDS) {
      same(
          "gatedGradients of " + activation + " of " + gate,
          Tolerance.ACCUMULATED,
          run -> slope(run, activation, gate));
    }
  }

  @Test
  void theSlopeOfSquaredReluHasNoEnd() {
    try (Run run = new Run(backend)) {
      Tensor slopes =
          slope(run, Activation.RELU_SQUARED, Float.NEGATIVE_INFINITY, -1, 0, 1e4f, 1e20f);
      assertArrayEquals(new float[] {0, 0, 0, 2e4f, 2e20f}, run.download(slopes), 0);
      Tensor end = slope(run, Activation.RELU_SQUARED, Float.POSITIVE_INFINITY, Float.NaN);
      assertEquals(Float.POSITIVE_INFINITY, run.download(end)[0]);
      assertTrue(Float.isNaN(run.download(end)[1]));
    }
  }

  @ParameterizedTest
  @EnumSource(value = Activation.class, names = "RELU_SQUARED", mode = EnumSource.Mode.EXCLUDE)
  void slopesEndAtZeroAndOne(Activation activation) {
    float[] gates = {-1000, -1e20f, Float.NEGATIVE_INFINITY, 1000, 1e20f, Float.POSITIVE_INFINITY};
    try (Run run = new Run(backend)) {
      Tensor slopes = slope(run, activation, gates);
      float[] found = run.download(slopes);
      for (int i = 0; i < 6; i++) {
        int end =
            switch (activation) {
              case SIGMOID -> 0;
              case LINEAR -> 1;
              default -> i < 3 ? 0 : 1;
            };
        assertEquals(end, found[i], 1e-30, activation + " at " + gates[i]);
      }
    }
  }

  /** The derivatives of an activation. */
  private static Tensor slope(Run run, Activation activation, float... gates) {
    Tensor slopes = run.tensor(gates, 1, gates.length);
    float[] ones = new float[gates.length];
    Arrays.fill(ones, 1);
    run.on.training().gatedGradients(activation, slopes, null, run.tensor(ones, 1, gates.length));
    return slopes;
  }

  @Test
  void differentiatesTheClampedGate() {
    for (int n : new int[] {1, 7, 15, 16, 17, 257}) {
      float[] channels = normal(6 * n);
      for (int i = 0; i < channels.length; i++) {
        channels[i] *= 6;
      }
      channels[0] = 7;
      channels[1] = -7;
      channels[2 * n] = -1e4f;
      channels[4 * n] = Float.POSITIVE_INFINITY;
      channels[4 * n + 1] = Float.NEGATIVE_INFINITY;
      float[] gradient = normal(3 * n);
      same(
          "clampedGateGradients of " + n,
          Tolerance.ACCUMULATED,
          run -> {
            Tensor gateUp = run.tensor(channels, 3, 2 * n);
            run.on
                .training()
                .clampedGateGradients(
                    gateUp, new ClampedGate(1.702, 7), run.tensor(gradient, 3, n));
            return gateUp;
          });
    }
  }

  @ParameterizedTest
  @CsvSource({"1,1", "3,7", "5,16", "40,31", "9,65", "3,4097"})
  void multipliesRows(int rows, int width) {
    float[] a = normal(rows * width);
    float[] b = normal(rows * width);
    a[width / 2] = Float.NaN;
    same(
        "rowProducts",
        Tolerance.ACCUMULATED,
        run -> {
          Tensor out = run.result(rows, 1);
          run.on
              .training()
              .rowProducts(run.tensor(a, rows, width), run.tensor(b, rows, width), out);
          return out;
        });
  }

  @ParameterizedTest
  @CsvSource({
    // vocabulary, width, share of labels, unit rows, soft-cap, dtype
    "11,3,0,false,0,F32",
    "33,16,0.25,false,0,F16",
    "500,24,0,false,30,BF16",
    "1029,40,1,true,0,F32",
    "3000,17,0.5,false,0,BF16"
  })
  void differentiatesTheLossOfDistillation(
      int vocabulary, int width, double labelShare, boolean unitRows, double softCap, DType dtype) {
    int[][] sequences = {{1, 5, 10, 7}, {2}, new int[30]};
    PackedSequences tokens = PackedSequences.of(List.of(sequences));
    int rows = tokens.size();
    float[] hidden = normal(rows * width);
    float[] reference = normal(rows * width);
    HostTensor weight = weight(dtype, vocabulary, width);
    Function<Run, double[]> losses =
        run -> {
          double[] found = new double[rows];
          loss(run, tokens, hidden, reference, weight, labelShare, unitRows, softCap, found);
          return found;
        };
    close(
        "losses", tested.logProbability(dtype), 1, of(this.reference, losses), of(backend, losses));
    same(
        "distillationLoss",
        tested.product(dtype) == Tolerance.BF16_PRODUCT
            ? Tolerance.BF16_LOG_PROBABILITY
            : Tolerance.LOG_PROBABILITY,
        run ->
            loss(
                run,
                tokens,
                hidden,
                reference,
                weight,
                labelShare,
                unitRows,
                softCap,
                new double[rows]));
  }

  private static Tensor loss(
      Run run,
      PackedSequences tokens,
      float[] hidden,
      float[] reference,
      HostTensor weight,
      double labelShare,
      boolean unitRows,
      double softCap,
      double[] losses) {
    int rows = tokens.size();
    int width = hidden.length / rows;
    Tensor gradient = run.result(rows, width);
    Head head = new Head(run.on.weight(weight), unitRows, new LogitSpec(unitRows ? 2 : 1, softCap));
    run.on
        .training()
        .distillationLoss(
            run.tensor(hidden, rows, width),
            run.tensor(reference, rows, width),
            head,
            run.batch(tokens),
            labelShare,
            0.125,
            losses,
            gradient);
    return gradient;
  }

  @Test
  void aModelHasNoDivergenceFromItself() {
    PackedSequences tokens = tokens(new int[] {1, 2, 3});
    float[] hidden = normal(3 * 8);
    HostTensor weight = weight(DType.F32, 20, 8);
    double[] losses = new double[3];
    try (Run run = new Run(backend)) {
      Tensor gradient = loss(run, tokens, hidden, hidden, weight, 0, false, 0, losses);
      assertArrayEquals(new double[3], losses, 1e-5);
      assertArrayEquals(new float[24], run.download(gradient), 1e-5f);
    }
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 15, 16, 17, 1000, 70000})
  void sumsSquares(int n) {
    float[] x = normal(n);
    close(
        "sumsOfSquares",
        Tolerance.COSINE,
        n,
        of(reference, run -> sum(run, x)),
        of(backend, run -> sum(run, x)));
    x[n / 2] = Float.NaN;
    try (Run run = new Run(backend)) {
      assertEquals(Double.NaN, sum(run, x)[0]);
    }
  }

  private static double[] sum(Run run, float[] x) {
    Tensor first = run.tensor(Arrays.copyOf(x, 3), 1, 3);
    return run.on.training().sumsOfSquares(List.of(run.tensor(x, 1, x.length), first));
  }

  /** Tensors of many lengths and dtypes, each with numbers of its own, in any order. */
  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  void movesManyTensorsAtOnce(boolean eightBit) {
    int[] lengths = {3, 4097, 1, 20_000, 256, 8192, 9000, 8193, 5};
    DType[] dtypes = DType.values();
    List<float[]> values = new ArrayList<>();
    for (int n : lengths) {
      values.add(normal(n));
      values.add(normal(n));
    }
    sameEach(
        eightBit ? "adamW8Bit" : "adamW",
        Tolerance.ACCUMULATED,
        run -> {
          List<TrainingOps.Update> updates = new ArrayList<>();
          List<TrainingOps.Update8Bit> narrow = new ArrayList<>();
          List<Tensor> results = new ArrayList<>();
          for (int i = 0; i < lengths.length; i++) {
            int n = lengths[i];
            Tensor gradient = run.tensor(values.get(2 * i), 1, n);
            Tensor master = run.tensor(values.get(2 * i + 1), 1, n);
            Tensor weight = run.arena.allocate(dtypes[i % dtypes.length], 1, n);
            TrainingOps.AdamW step =
                new TrainingOps.AdamW(1, 0.01 * (i + 1), 0.9, 0.95, 1e-8, 0.1, 0.5, 0);
            if (eightBit) {
              Tensor moments = run.result(EightBitMoments.blocks(n), EightBitMoments.ROW);
              narrow.add(new TrainingOps.Update8Bit(step, gradient, moments, master, weight));
            } else {
              Tensor mean = run.result(1, n);
              updates.add(
                  new TrainingOps.Update(
                      step, null, gradient, mean, run.result(1, n), master, weight));
              results.add(mean);
            }
            results.addAll(List.of(gradient, master));
          }
          double[] squares =
              run.on
                  .training()
                  .sumsOfSquares(
                      eightBit
                          ? narrow.stream().map(TrainingOps.Update8Bit::gradient).toList()
                          : updates.stream().map(TrainingOps.Update::gradient).toList());
          for (int i = 0; i < lengths.length; i++) {
            double expected = 0;
            for (float x : values.get(2 * i)) {
              expected += (double) x * x;
            }
            assertEquals(expected, squares[i], 1e-6 * expected);
          }
          run.on.training().adamW(updates);
          run.on.training().adamW8Bit(narrow);
          return results;
        });
  }

  @ParameterizedTest
  @CsvSource({"1,F32", "15,BF16", "16,F16", "17,BF16", "257,F32", "1000,F16", "40000,BF16"})
  void takesStepsOfAdamW(int n, DType dtype) {
    float[] master = normal(n);
    float[][] gradients = {normal(n), normal(n), normal(n)};
    sameEach(
        "adamW",
        Tolerance.ACCUMULATED,
        run -> {
          Tensor gradient = run.result(1, n);
          Tensor mean = run.tensor(new float[n], 1, n);
          Tensor square = run.tensor(new float[n], 1, n);
          Tensor masters = run.tensor(master, 1, n);
          Tensor weight = run.arena.allocate(dtype, 1, n);
          for (int step = 1; step <= gradients.length; step++) {
            run.on.upload(gradients[step - 1], gradient);
            run.on
                .training()
                .adamW(
                    List.of(
                        new TrainingOps.Update(
                            new TrainingOps.AdamW(step, 0.01, 0.9, 0.95, 1e-8, 0.1, 0.5, 0),
                            null,
                            gradient,
                            mean,
                            square,
                            masters,
                            weight)));
          }
          // The weight is the master of this backend, rounded to the nearest: no tolerance is
          // needed for that.
          assertArrayEquals(
              rounded(dtype, run.download(masters)), run.download(run.widened(weight)));
          return List.of(gradient, mean, square, masters);
        });
  }

  /**
   * Steps are computed with running means before they are rounded: weights agree as those of f32.
   * Codes may differ where a number lies at the end of the part of a code.
   */
  @ParameterizedTest
  @CsvSource({
    "1,F32",
    "7,BF16",
    "255,F16",
    "256,F32",
    "257,BF16",
    "512,BF16",
    "700,F16",
    "40000,BF16"
  })
  void takesStepsOfAdamWWithRunningMeansIn8Bits(int n, DType dtype) {
    float[] master = normal(n);
    float[][] gradients = {normal(n), normal(n), normal(n)};
    for (int i = 0; i < n; i++) {
      // Running means of a block have many magnitudes.
      float scale = (float) Math.pow(10, -i % 7);
      for (float[] gradient : gradients) {
        gradient[i] *= scale;
      }
    }
    int rows = Math.toIntExact(EightBitMoments.blocks(n));
    float[][] moments = new float[gradients.length + 1][rows * EightBitMoments.ROW];
    for (int step = 1; step <= gradients.length; step++) {
      int number = step;
      sameEach(
          "adamW8Bit",
          Tolerance.ACCUMULATED,
          run -> {
            Tensor gradient = run.tensor(gradients[number - 1], 1, n);
            Tensor masters = run.tensor(master, 1, n);
            Tensor weight = run.arena.allocate(dtype, 1, n);
            Tensor held = run.tensor(moments[number - 1], rows, EightBitMoments.ROW);
            run.on
                .training()
                .adamW8Bit(
                    List.of(
                        new TrainingOps.Update8Bit(
                            new TrainingOps.AdamW(number, 0.01, 0.9, 0.95, 1e-8, 0.1, 0.5, 0),
                            gradient,
                            held,
                            masters,
                            weight)));
            assertArrayEquals(
                rounded(dtype, run.download(masters)), run.download(run.widened(weight)));
            float[] after = run.download(held);
            if (run.on == reference) {
              moments[number] = after;
            } else {
              assertNear(moments[number], after, rows);
            }
            return List.of(gradient, masters);
          });
    }
  }

  /** Checks that running means in 8 bits differ by one code at most. */
  private void assertNear(float[] expected, float[] found, int rows) {
    try (Run run = new Run(reference)) {
      Tensor wanted = run.tensor(expected, rows, EightBitMoments.ROW);
      Tensor got = run.tensor(found, rows, EightBitMoments.ROW);
      for (int block = 0; block < rows; block++) {
        EightBitMoments first = new EightBitMoments(wanted.slice(block, block + 1));
        EightBitMoments second = new EightBitMoments(got.slice(block, block + 1));
        assertNear(first.means(), second.means());
        assertNear(first.squares(), second.squares());
      }
    }
  }

  private static void assertNear(double[] expected, double[] found) {
    double most = Arrays.stream(expected).map(Math::abs).max().orElseThrow();
    int same = 0;
    for (int i = 0; i < expected.length; i++) {
      double tolerance = Math.max(1.2 * Math.abs(expected[i]), 3e-5 * most);
      assertEquals(expected[i], found[i], tolerance, "element " + i);
      same += Math.abs(expected[i] - found[i]) <= 1e-5 * Math.abs(expected[i]) ? 1 : 0;
    }
    assertTrue(same >= expected.length - 8, () -> "too many codes differ");
  }

  /** Numbers between two values of 16 bits, which products leave as they are: the same bits. */
  @ParameterizedTest
  @EnumSource
  void roundsWeightsWithoutMastersAtRandom(DType dtype) {
    int n = 3000;
    float[] weights = rounded(DType.BF16, normal(n));
    for (int i = 0; i < n; i += 3) {
      // Some that f16 has as multiples of its least number.
      weights[i] *= 0x1p-17f;
    }
    for (boolean eightBit : new boolean[] {false, true}) {
      for (long key : new long[] {0, -1, 0x123456789abcdefL}) {
        TrainingOps.AdamW step = new TrainingOps.AdamW(1, 0x1p-6, 0.9, 0.95, 1e-8, 0x1p-5, 1, key);
        float[] expected = rounded(dtype, weights);
        for (int i = 0; i < n; i++) {
          float kept = expected[i] * (1 - 0x1p-11f);
          expected[i] = StochasticRounding.round(dtype, kept, StochasticRounding.bits(key, i));
        }
        try (Run run = new Run(backend)) {
          Tensor weight = run.arena.allocate(dtype, 1, n);
          run.on.copy(run.tensor(weights, 1, n), weight);
          Tensor gradient = run.tensor(new float[n], 1, n);
          TrainingOps ops = run.on.training();
          if (eightBit) {
            int rows = Math.toIntExact(EightBitMoments.blocks(n));
            float[] zeros = new float[rows * EightBitMoments.ROW];
            Tensor moments = run.tensor(zeros, rows, EightBitMoments.ROW);
            ops.adamW8Bit(
                List.of(new TrainingOps.Update8Bit(step, gradient, moments, null, weight)));
            assertArrayEquals(zeros, run.download(moments));
          } else {
            Tensor mean = run.tensor(new float[n], 1, n);
            Tensor square = run.tensor(new float[n], 1, n);
            ops.adamW(
                List.of(new TrainingOps.Update(step, null, gradient, mean, square, null, weight)));
          }
          assertArrayEquals(expected, run.download(run.widened(weight)));
        }
      }
    }
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 100, 5000, 70_000})
  void dampsStepsByTheSizeOfGradients(int n) {
    float[][] gradients = {normal(n), normal(n), normal(7), normal(7)};
    float[] master = normal(n);
    sameEach(
        "dampings",
        Tolerance.ACCUMULATED,
        run -> {
          TrainingOps ops = run.on.training();
          Tensor running = run.tensor(new float[4], 2, 2);
          Tensor dampings = run.result(2, 1);
          Tensor masters = run.tensor(master, 1, n);
          Tensor mean = run.tensor(new float[n], 1, n);
          Tensor square = run.tensor(new float[n], 1, n);
          for (int step = 1; step <= 2; step++) {
            Tensor gradient = run.tensor(gradients[step - 1], 1, n);
            Tensor other = run.tensor(gradients[step + 1], 1, 7);
            ops.dampings(
                new TrainingOps.Damping(step, 0.95, 3, 1e-12),
                List.of(other, gradient),
                running,
                dampings);
            ops.adamW(
                List.of(
                    new TrainingOps.Update(
                        new TrainingOps.AdamW(step, 0.05, 0.9, 0.95, 1e-12, 0, 1, 0),
                        dampings.slice(1, 2),
                        gradient,
                        mean,
                        square,
                        masters,
                        run.arena.allocate(DType.BF16, 1, n))));
          }
          return List.of(dampings, masters, mean, square);
        });
  }

  /** A damaged gradient changes nothing, and neither do those after it. */
  @ParameterizedTest
  @ValueSource(floats = {Float.NaN, Float.POSITIVE_INFINITY})
  void takesNoStepByADamagedGradient(float damage) {
    TrainingOps ops = backend.training();
    float[] values = normal(300);
    float[] damaged = normal(300);
    damaged[17] = damage;
    try (Run run = new Run(backend)) {
      Tensor running = run.tensor(new float[2], 1, 2);
      Tensor damping = run.result(1, 1);
      Tensor mean = run.tensor(values, 3, 100);
      Tensor square = run.tensor(values, 3, 100);
      Tensor master = run.tensor(values, 3, 100);
      Tensor weight = run.arena.allocate(DType.F16, 3, 100);
      run.on.copy(run.tensor(values, 3, 100), weight);
      for (int step = 1; step <= 2; step++) {
        Tensor gradient = run.tensor(step == 1 ? damaged : normal(300), 3, 100);
        ops.dampings(
            new TrainingOps.Damping(step, 0.95, 3, 1e-12), List.of(gradient), running, damping);
        ops.adamW(
            List.of(
                new TrainingOps.Update(
                    new TrainingOps.AdamW(step, 0.05, 0.9, 0.95, 1e-12, 0.1, 1, 0),
                    damping,
                    gradient,
                    mean,
                    square,
                    master,
                    weight)));
        assertArrayEquals(new float[300], run.download(gradient));
      }
      for (Tensor same : List.of(mean, square, master)) {
        assertArrayEquals(values, run.download(same));
      }
      assertArrayEquals(rounded(DType.F16, values), run.download(run.widened(weight)));
    }
  }

  private static float[] rounded(DType dtype, float[] values) {
    float[] rounded = values.clone();
    for (int i = 0; i < values.length; i++) {
      rounded[i] =
          switch (dtype) {
            case F32 -> values[i];
            case F16 -> Float.float16ToFloat(DType.toF16(values[i]));
            case BF16 -> Float.intBitsToFloat(DType.toBf16(values[i]) << 16);
          };
    }
    return rounded;
  }

  @Test
  void refusesArgumentsThatDoNotFit() {
    TrainingOps ops = backend.training();
    try (Run run = new Run(backend)) {
      Tensor x = run.tensor(new float[12], 3, 4);
      Tensor other = run.tensor(new float[15], 3, 5);
      Tensor row = run.tensor(new float[4], 1, 4);
      Tensor half = run.arena.allocate(DType.F16, 3, 4);
      TokenBatch three = run.batch(tokens(new int[3]), 2);
      AttentionSpec spec = new AttentionSpec(1, 1, 4, 0, LogitSpec.PLAIN, DType.F32);
      refuses(() -> ops.linearGradient(x, other, false, other));
      refuses(() -> ops.linearGradient(half, x, false, x));
      refuses(() -> ops.addColumns(x, other));
      refuses(() -> ops.rmsNormGradient(x, row, new NormSpec(EPS, 0), other, row, x));
      refuses(() -> ops.rmsNormGradient(x, row, new NormSpec(EPS, 0), x, other, x));
      refuses(() -> ops.layerNormGradient(x, row, new NormSpec(EPS, 0), x, row, x, x));
      refuses(() -> ops.ropeGradient(other, RotaryPairs.HALVES, 4, 0, three));
      refuses(() -> ops.attention(x, x, x, null, spec, three, x, x));
      refuses(() -> ops.gatedGradients(Activation.SILU, x, other, x));
      refuses(() -> ops.gatedGradients(Activation.SILU, x, x, half));
      refuses(() -> ops.clampedGateGradients(x, new ClampedGate(1.702, 7), x));
      refuses(() -> ops.rowProducts(x, x, x));
      Head head = new Head(run.tensor(new float[20], 5, 4), LogitSpec.PLAIN);
      refuses(() -> ops.distillationLoss(x, x, head, three, 2, 1, new double[3], x));
      refuses(() -> ops.distillationLoss(x, x, head, three, 0, 1, new double[2], x));
      refuses(() -> ops.sumsOfSquares(List.of(x, half)));
      TrainingOps.AdamW step = new TrainingOps.AdamW(1, 1, 0, 0, 1, 0, 1, 0);
      refuses(() -> ops.adamW(List.of(new TrainingOps.Update(step, null, x, x, other, x, half))));
      refuses(() -> ops.adamW8Bit(List.of(new TrainingOps.Update8Bit(step, x, x, null, x))));
      Tensor moments = run.result(1, 130);
      refuses(() -> ops.adamW8Bit(List.of(new TrainingOps.Update8Bit(step, x, moments, other, x))));
      refuses(() -> ops.adamW(List.of(new TrainingOps.Update(step, row, x, x, x, x, half))));
      TrainingOps.Damping damping = new TrainingOps.Damping(1, 0, 1, 0);
      refuses(() -> ops.dampings(damping, List.of(x), row, run.result(1, 1)));
      refuses(() -> new TrainingOps.Damping(0, 0, 1, 0));
      refuses(() -> new TrainingOps.AdamW(0, 1, 0, 0, 1, 0, 1, 0));
      TokenBatch past = pastOf(run);
      Tensor two = run.tensor(new float[8], 2, 4);
      refuses(() -> ops.attention(two, x, x, null, spec, past, two, run.result(2, 1)));
    }
  }

  /** Two tokens that follow another. */
  private static TokenBatch pastOf(Run run) {
    return run.batch(new PackedSequences(new int[2], new int[] {0, 2}, new int[] {1}), 2);
  }
}
