package dev.laco.backend;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.abort;

import dev.laco.ResourceException;
import dev.laco.backend.reference.ReferenceBackend;
import dev.laco.linalg.Elimination;
import dev.laco.linalg.NotPositiveDefiniteException;
import dev.laco.model.Activation;
import dev.laco.model.DType;
import dev.laco.model.HostTensor;
import dev.laco.model.PackedSequences;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Random;
import java.util.function.Function;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * What every backend must do, held against {@link ReferenceBackend} on the same inputs. Results lie
 * between sentinel rows that must survive; weights lie at odd addresses; NaN and infinities must
 * come out where the reference has them.
 */
public abstract class BackendContractTest {
  private static final float SENTINEL = -12345.678f;
  private static final double EPS = 1e-5;

  /** Results below this magnitude may as well be zero: f32 begins to lose precision near 1e-38. */
  private static final double NEGLIGIBLE = 1e-30;

  /** Gates at which an activation or its slope may overflow or lose all digits. */
  private static final float[] ENDS = {
    0f,
    -0f,
    1e-30f,
    -1e-30f,
    5f,
    -5f,
    20f,
    -20f,
    87f,
    -87f,
    88.5f,
    -88.5f,
    90f,
    -90f,
    1000f,
    -1000f,
    3e38f,
    -3e38f,
    Float.POSITIVE_INFINITY,
    Float.NEGATIVE_INFINITY,
    Float.NaN
  };

  private final Random random = new Random(20240217);
  private final Arena memory = Arena.ofShared();
  private final Backend reference = new ReferenceBackend(Compute.F32);
  private Backend backend;

  /** The backend under test. */
  protected abstract Backend open();

  /** How far matrix products with weights of this dtype may be from the reference. */
  protected Tolerance product(DType dtype) {
    return Tolerance.ACCUMULATED;
  }

  /** Likewise log-probabilities. */
  protected Tolerance logProbability(DType dtype) {
    return Tolerance.LOG_PROBABILITY;
  }

  /** How far attention that multiplies in a type may be from the reference. */
  protected Tolerance attention(DType products) {
    return Tolerance.ACCUMULATED;
  }

  /** How far cross products may be from the reference. */
  protected Tolerance crossProduct() {
    return Tolerance.ACCUMULATED;
  }

  @BeforeEach
  void openBackend() {
    backend = open();
  }

  @AfterEach
  void closeBackend() {
    backend.close();
    memory.close();
  }

  @Test
  void saysWhatTheDeviceIs() {
    DeviceInfo info = backend.info();
    String kind = info.kind().name().toLowerCase(Locale.ROOT);
    assertTrue(info.name().startsWith(kind), info.name());
    assertEquals(info.kind() == DeviceInfo.Kind.CUDA, info.copiesWeights());
    assertEquals(info.copiesWeights(), backend.scratchBytes(1 << 20) > 0);
    assertTrue(backend.operationsPerSecond(DType.F32) > 0);
    if (info.memory() != null) {
      assertTrue(info.memory().free() > 0, info.toString());
      assertTrue(info.memory().bytesPerSecond() > 0, info.toString());
    }
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 7, 31, 32, 33, 127, 257, 576})
  void embedsTheRowOfEachToken(int width) {
    for (DType dtype : DType.values()) {
      HostTensor table = weight(dtype, 11, width);
      PackedSequences tokens = tokens(new int[] {3, 0, 10}, new int[] {10});
      same(
          "embed " + dtype,
          Tolerance.EXACT,
          run -> {
            Tensor out = run.result(4, width);
            run.on.embed(run.on.weight(table), run.batch(tokens), out);
            return out;
          });
    }
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 2, 3, 5, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 257, 576, 4096})
  void normalisesRowsByTheirRootMeanSquare(int width) {
    for (DType dtype : DType.values()) {
      HostTensor weight = weight(dtype, 1, width);
      float[] x = normal(3 * width);
      same(
          "rmsNorm " + dtype,
          Tolerance.ELEMENTWISE,
          run -> {
            Tensor out = run.result(3, width);
            run.on.rmsNorm(run.tensor(x, 3, width), run.on.weight(weight), EPS, out);
            return out;
          });
    }
  }

  @Test
  void normalisesInPlaceAndKeepsNaNToItsRow() {
    float[] x = normal(3 * 40);
    x[45] = Float.NaN;
    HostTensor weight = weight(DType.BF16, 1, 40);
    same(
        "rmsNorm in place",
        Tolerance.ELEMENTWISE,
        run -> {
          Tensor rows = run.tensor(x, 3, 40);
          run.on.rmsNorm(rows, run.on.weight(weight), EPS, rows);
          return rows;
        });
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 7, 31, 32, 33, 127, 257, 576, 4096})
  void addsAndNormalises(int width) {
    for (DType dtype : DType.values()) {
      HostTensor weight = weight(dtype, 1, width);
      float[] x = normal(3 * width);
      float[] y = normal(3 * width);
      y[width] = Float.NaN;
      for (boolean inPlace : new boolean[] {false, true}) {
        for (boolean residual : new boolean[] {false, true}) {
          same(
              "addRmsNorm " + dtype,
              Tolerance.ELEMENTWISE,
              run -> {
                Tensor sum = run.tensor(x, 3, width);
                Tensor added = run.tensor(y, 3, width);
                Tensor out = inPlace ? added : run.result(3, width);
                run.on.addRmsNorm(sum, added, run.on.weight(weight), EPS, out);
                return residual ? sum : out;
              });
        }
      }
    }
  }

  @ParameterizedTest
  @CsvSource({
    "1,1,1",
    "1,7,31",
    "1,576,1536",
    "2,33,5",
    "3,64,9",
    "4,257,7",
    "5,31,33",
    "7,127,3",
    "8,16,16",
    "31,7,257",
    "32,32,32",
    "33,33,33",
    "127,65,31",
    "257,1,7",
    "16,576,1536",
    "6,4099,130"
  })
  void multipliesByTheTransposedWeight(int rows, int in, int out) {
    for (DType dtype : DType.values()) {
      HostTensor weight = weight(dtype, out, in);
      HostTensor bias = weight(dtype, 1, out);
      float[] x = normal(rows * in);
      for (HostTensor shift : Arrays.asList(null, bias)) {
        // A bias may cancel most of the product, but not of its rounding.
        double terms = shift == null ? NEGLIGIBLE : 1;
        same(
            "linear " + dtype + (shift == null ? "" : " with bias"),
            product(dtype),
            terms,
            run -> {
              Tensor result = run.result(rows, out);
              Tensor added = shift == null ? null : run.on.weight(shift);
              run.on.linear(run.tensor(x, rows, in), run.on.weight(weight), added, result);
              return result;
            });
      }
    }
  }

  @ParameterizedTest
  @EnumSource(DType.class)
  void multipliesByWeightsAtAnyAddress(DType dtype) {
    for (int rows : new int[] {1, 20}) {
      for (int offset = 0; offset < 8; offset++) {
        HostTensor weight = weight(dtype, 70, 64, offset);
        float[] x = normal(rows * 64);
        same(
            "linear, weight " + offset + " bytes off",
            product(dtype),
            run -> {
              Tensor out = run.result(rows, 70);
              run.on.linear(run.tensor(x, rows, 64), run.on.weight(weight), null, out);
              return out;
            });
      }
    }
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 4, 24})
  void keepsNaNAndInfinityOfAProductToTheirRow(int rows) {
    for (DType dtype : DType.values()) {
      HostTensor weight = weight(dtype, 37, 50);
      float[] x = normal(rows * 50);
      x[13] = Float.NaN;
      x[(rows - 1) * 50 + 7] = rows > 1 ? Float.POSITIVE_INFINITY : x[7];
      same(
          "linear " + dtype,
          product(dtype),
          run -> {
            Tensor out = run.result(rows, 37);
            run.on.linear(run.tensor(x, rows, 50), run.on.weight(weight), null, out);
            return out;
          });
    }
  }

  @ParameterizedTest
  @CsvSource({
    "1,2,1",
    "3,14,7",
    "2,64,31",
    "2,64,32",
    "5,80,33",
    "1,128,64",
    "2,130,65",
    "4,96,16"
  })
  void rotatesTheHalvesOfEachHead(int heads, int headDim, int pairs) {
    float[] x = normal(5 * heads * headDim);
    PackedSequences tokens = tokens(new int[] {1, 2, 3}, new int[] {4, 5});
    same(
        "rope",
        Tolerance.ELEMENTWISE,
        run -> {
          Tensor rows = run.tensor(x, 5, heads * headDim);
          run.on.rope(rows, headDim, run.batch(tokens, pairs));
          return rows;
        });
  }

  @ParameterizedTest
  @CsvSource({"1,2,1", "3,14,7", "2,64,32", "9,64,32", "5,80,33", "40,128,64", "2,257,100"})
  void normalisesHeadsAndRotatesThem(int heads, int headDim, int pairs) {
    PackedSequences tokens = tokens(new int[] {1, 2, 3}, new int[] {4, 5});
    for (DType dtype : DType.values()) {
      HostTensor weight = weight(dtype, 1, headDim);
      float[] x = normal(5 * heads * headDim);
      for (HostTensor norm : Arrays.asList(null, weight)) {
        same(
            "normRope " + dtype + (norm == null ? " without norm" : ""),
            Tolerance.ELEMENTWISE,
            run -> {
              Tensor rows = run.tensor(x, 5, heads * headDim);
              Tensor scale = norm == null ? null : run.on.weight(norm);
              run.on.normRope(rows, scale, EPS, headDim, run.batch(tokens, pairs));
              return rows;
            });
      }
    }
  }

  @ParameterizedTest
  @CsvSource({"1,3,5", "5,64,48", "33,257,31", "90,130,65", "200,64,64"})
  void multipliesByMixedWeights(int tokens, int in, int out) {
    for (DType dtype : DType.values()) {
      List<HostTensor> sources =
          List.of(weight(dtype, out, in), weight(dtype, out, in), weight(dtype, out, in));
      HostTensor bias = weight(dtype, 1, out);
      float[] x = normal(tokens * in);
      same(
          "linear of a mix of " + dtype,
          product(dtype),
          run -> {
            List<Tensor> layers = sources.stream().map(run.on::weight).toList();
            Tensor scratch = run.arena.allocate(backend.mixedDType(dtype), out, in);
            Tensor shift = run.arena.allocate(backend.mixedDType(dtype), 1, out);
            List<Tensor> mixed =
                run.on.mixed(
                    List.of(
                        new TensorMix(scratch, new double[] {-1, 1.5, 0.5}, layers),
                        new TensorMix(shift, new double[] {0.5}, List.of(run.on.weight(bias)))),
                    tokens);
            Tensor result = run.result(tokens, out);
            run.on.linear(run.tensor(x, tokens, in), mixed.get(0), mixed.get(1), result);
            return result;
          });
    }
  }

  @ParameterizedTest
  @CsvSource({
    // heads, key-value heads, width, window
    "1,1,1,0",
    "2,1,7,0",
    "4,2,32,0",
    "6,2,64,0",
    "3,3,33,5",
    "9,3,64,0",
    "4,4,80,40",
    "8,1,128,64",
    "2,2,257,1",
    "40,1,16,0",
  })
  void attendsToWhatEachQueryMaySee(int heads, int keyHeads, int width, int window) {
    attention(
        heads,
        keyHeads,
        width,
        window,
        new int[] {1, 7, 33, 97},
        new int[4],
        DType.F32,
        DType.BF16);
  }

  @ParameterizedTest
  @CsvSource({"1,1,64,0", "9,3,64,0", "4,2,33,50", "8,2,128,16"})
  void attendsToKeysFromBeforeTheBatch(int heads, int keyHeads, int width, int window) {
    attention(
        heads,
        keyHeads,
        width,
        window,
        new int[] {1, 1, 5, 40},
        new int[] {0, 200, 63, 64},
        DType.values());
  }

  @Test
  void attendsOverManyBlocksOfKeys() {
    attention(2, 1, 64, 0, new int[] {300}, new int[1], DType.F32, DType.BF16);
    attention(2, 1, 64, 100, new int[] {300}, new int[1], DType.F32, DType.F16);
  }

  @Test
  void attentionOfLargeScoresStaysFinite() {
    PackedSequences tokens = tokens(new int[90]);
    float[] query = normal(90 * 32);
    float[] key = normal(90 * 32);
    for (int i = 0; i < query.length; i++) {
      // No score loses anything by rounding to 16 bits: a small share of some hundreds is much.
      query[i] = 100 * Math.round(4 * query[i]);
      key[i] = Math.round(4 * key[i]) / 4f;
    }
    float[] value = normal(90 * 32);
    // Scores of some hundreds: f32 leaves an absolute 1e-4 in the exponent.
    for (DType products : DType.values()) {
      AttentionSpec spec = new AttentionSpec(1, 1, 32, 0, 1, products);
      same(
          "attention in " + products,
          Tolerance.BF16_PRODUCT,
          run -> {
            Tensor out = run.result(90, 32);
            run.on.attention(
                run.tensor(query, 90, 32),
                run.tensor(key, 90, 32),
                run.tensor(value, 90, 32),
                spec,
                run.batch(tokens),
                out);
            return out;
          });
    }
  }

  @ParameterizedTest
  @CsvSource({"12,0", "12,10", "16,0", "16,10"})
  void queriesDoNotSeeNaNInKeysAndValuesOfTheFuture(int width, int window) {
    PackedSequences tokens = tokens(new int[100], new int[30]);
    float[] query = normal(130 * 4 * width);
    float[] key = normal(130 * 2 * width);
    float[] value = normal(130 * 2 * width);
    key[70 * 2 * width + 3] = Float.NaN;
    value[77 * 2 * width + 5] = Float.NaN;
    value[101 * 2 * width + 11] = Float.POSITIVE_INFINITY;
    for (DType products : DType.values()) {
      AttentionSpec spec = new AttentionSpec(4, 2, width, window, 0.3f, products);
      same(
          "attention in " + products,
          attention(products),
          run -> {
            Tensor out = run.result(130, 4 * width);
            run.on.attention(
                run.tensor(query, 130, 4 * width),
                run.tensor(key, 130, 2 * width),
                run.tensor(value, 130, 2 * width),
                spec,
                run.batch(tokens),
                out);
            return out;
          });
    }
  }

  @ParameterizedTest
  @EnumSource(Activation.class)
  void gatesByTheActivation(Activation activation) {
    for (int n : new int[] {1, 2, 3, 7, 15, 16, 17, 31, 32, 33, 127, 257, 1536}) {
      float[] gate = normal(3 * n);
      for (int i = 0; i < gate.length; i++) {
        gate[i] *= 4;
      }
      float[] up = normal(3 * n);
      same(
          activation + " of " + n,
          Tolerance.ELEMENTWISE,
          run -> {
            Tensor gates = run.tensor(gate, 3, n);
            run.on.gatedActivation(activation, gates, run.tensor(up, 3, n), gates);
            return gates;
          });
    }
  }

  @ParameterizedTest
  @EnumSource(Activation.class)
  void takesTheSlopesOfTheGateInPlace(Activation activation) {
    for (int n : new int[] {1, 2, 3, 7, 15, 16, 17, 31, 32, 33, 127, 257, 1536}) {
      float[] gate = normal(3 * n);
      for (int i = 0; i < gate.length; i++) {
        gate[i] *= 4;
      }
      float[] up = normal(3 * n);
      for (boolean alongGate : new boolean[] {false, true}) {
        same(
            "slopes of " + activation + " of " + n,
            Tolerance.ELEMENTWISE,
            run -> {
              Tensor gates = run.tensor(gate, 3, n);
              Tensor ups = run.tensor(up, 3, n);
              run.on.gatedSlopes(activation, gates, ups);
              return alongGate ? ups : gates;
            });
      }
    }
  }

  @ParameterizedTest
  @EnumSource(Activation.class)
  void slopesHoldAtTheEndsOfTheRange(Activation activation) {
    for (float gate : ENDS) {
      float[] one = {gate};
      for (boolean alongGate : new boolean[] {false, true}) {
        same(
            "slopes of " + activation + " of " + gate,
            Tolerance.ACCUMULATED,
            run -> {
              Tensor gates = run.tensor(one, 1, 1);
              Tensor ups = run.tensor(new float[] {1}, 1, 1);
              run.on.gatedSlopes(activation, gates, ups);
              return alongGate ? ups : gates;
            });
      }
    }
  }

  @ParameterizedTest
  @EnumSource(Activation.class)
  void slopesEndAtZeroAndOne(Activation activation) {
    float[] gate = {-1000, -1e20f, Float.NEGATIVE_INFINITY, 1000, 1e20f, Float.POSITIVE_INFINITY};
    try (Run run = new Run(backend)) {
      Tensor ups = run.tensor(new float[] {1, 1, 1, 1, 1, 1}, 1, 6);
      backend.gatedSlopes(activation, run.tensor(gate, 1, 6), ups);
      float[] slopes = run.download(ups);
      for (int i = 0; i < 6; i++) {
        assertEquals(i < 3 ? 0 : 1, slopes[i], 1e-30, activation + " at " + gate[i]);
      }
    }
  }

  @ParameterizedTest
  @EnumSource(Activation.class)
  void activationsHoldAtTheEndsOfTheRange(Activation activation) {
    for (float gate : ENDS) {
      // One at a time, so that a large result hides no error of a small one.
      float[] one = {gate};
      same(
          activation + " of " + gate,
          Tolerance.ACCUMULATED,
          run -> {
            Tensor out = run.result(1, 1);
            run.on.gatedActivation(
                activation, run.tensor(one, 1, 1), run.tensor(new float[] {1}, 1, 1), out);
            return out;
          });
    }
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 7, 15, 16, 17, 31, 32, 33, 127, 257, 40000})
  void addsElements(int n) {
    float[] x = normal(n);
    float[] y = normal(n);
    x[n / 2] = Float.NEGATIVE_INFINITY;
    same(
        "add",
        Tolerance.EXACT,
        run -> {
          Tensor sum = run.tensor(x, 1, n);
          run.on.add(sum, run.tensor(y, 1, n));
          return sum;
        });
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 7, 15, 16, 17, 31, 32, 33, 127, 257, 40000})
  void multipliesElements(int n) {
    float[] x = normal(n);
    float[] y = normal(n);
    x[n / 2] = Float.NEGATIVE_INFINITY;
    for (int place = 0; place < 3; place++) {
      int at = place;
      same(
          "multiply",
          Tolerance.EXACT,
          run -> {
            Tensor left = run.tensor(x, 1, n);
            Tensor right = run.tensor(y, 1, n);
            Tensor out = List.of(left, right, run.result(1, n)).get(at);
            run.on.multiply(left, right, out);
            return out;
          });
    }
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 257, 40001})
  void mixesToTheSameBits(int n) {
    double[][] coefficients = {
      {1}, {-0.25}, {1.0 / 3, 1.0 / 3, 1.0 / 3}, {-2, 1, 1, 1}, {0.7, 0.3}
    };
    for (DType from : DType.values()) {
      for (DType to : DType.values()) {
        for (double[] mix : coefficients) {
          List<HostTensor> sources = new ArrayList<>();
          for (int j = 0; j < mix.length; j++) {
            sources.add(weight(from, 1, n, j));
          }
          same(
              "mix of " + mix.length + " from " + from + " to " + to,
              Tolerance.EXACT,
              run -> {
                Tensor out = run.arena.allocate(to, 1, n);
                run.on.mix(
                    List.of(
                        new TensorMix(out, mix, sources.stream().map(run.on::weight).toList())));
                return run.widened(out);
              });
        }
      }
    }
  }

  @Test
  void mixesTensorsOfSeveralTypesInOneCallAndInPlace() {
    HostTensor a = weight(DType.F32, 3, 41);
    HostTensor b = weight(DType.F16, 3, 41);
    HostTensor c = weight(DType.BF16, 3, 41);
    float[] x = normal(3 * 41);
    same(
        "mix",
        Tolerance.EXACT,
        run -> {
          Tensor inPlace = run.tensor(x, 3, 41);
          Tensor small = run.arena.allocate(DType.BF16, 3, 41);
          run.on.mix(
              List.of(
                  new TensorMix(
                      small,
                      new double[] {0.5, 0.25, 0.25},
                      List.of(run.on.weight(a), run.on.weight(b), run.on.weight(c))),
                  new TensorMix(
                      inPlace, new double[] {-1, 2}, List.of(inPlace, run.on.weight(a)))));
          run.on.mix(List.of(new TensorMix(inPlace, new double[] {1, 3}, List.of(inPlace, small))));
          return inPlace;
        });
  }

  @Test
  void mixRoundsOnceEvenWhereTwoRoundingsDiffer() {
    // A value a hair above the middle between two neighbours: through f32 it would become the tie.
    for (DType to : new DType[] {DType.F16, DType.BF16}) {
      int bits = to == DType.F16 ? 11 : 8;
      double middle = 1 + Math.scalb(1.0, -bits);
      float[] x = new float[64];
      Arrays.fill(x, 1);
      float[] y = new float[64];
      for (int i = 0; i < y.length; i++) {
        y[i] = (i % 2 == 0 ? 1 : -1) * (1 + i);
      }
      same(
          "mix to " + to,
          Tolerance.EXACT,
          run -> {
            Tensor out = run.arena.allocate(to, 1, 64);
            run.on.mix(
                List.of(
                    new TensorMix(
                        out,
                        new double[] {middle, 0x1p-40},
                        List.of(run.tensor(x, 1, 64), run.tensor(y, 1, 64)))));
            Tensor wide = run.widened(out);
            float[] values = run.download(wide);
            assertEquals((float) (1 + Math.scalb(1.0, 1 - bits)), values[0], "above the middle");
            assertEquals(1f, values[1], "below the middle");
            return wide;
          });
    }
  }

  @Test
  void mixRoundsAtTheEndsOfTheRange() {
    float[] x = {
      0f,
      -0f,
      1e-45f,
      -1e-45f,
      1e-40f,
      6e-8f,
      2.98e-8f,
      2.99e-8f,
      6.1e-5f,
      65504f,
      65519f,
      65520f,
      -65520f,
      3.4e38f,
      Float.MAX_VALUE,
      -Float.MAX_VALUE,
      Float.POSITIVE_INFINITY,
      Float.NaN,
      1e-38f,
      Float.NEGATIVE_INFINITY
    };
    for (DType to : DType.values()) {
      for (double coefficient : new double[] {1, 1e-8, -1.5, 1e-310, 1e30}) {
        same(
            "mix to " + to + " by " + coefficient,
            Tolerance.EXACT,
            run -> {
              Tensor out = run.arena.allocate(to, 1, x.length);
              run.on.mix(
                  List.of(
                      new TensorMix(
                          out, new double[] {coefficient}, List.of(run.tensor(x, 1, x.length)))));
              return run.widened(out);
            });
      }
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

  @ParameterizedTest
  @CsvSource({"1,1", "7,7", "31,33", "64,100", "576,4099", "33,40000"})
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
      logProbabilities(tokens, scaled, head, logProbability(dtype));
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
    logProbabilities(tokens, hidden, weight(DType.F32, 300, 16), Tolerance.BF16_PRODUCT);
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
    // One that is the same, one that is close.
    System.arraycopy(reference, 0, hidden, 0, 2 * width);
    hidden[width] += 0.01f;
    for (DType dtype : DType.values()) {
      HostTensor head = weight(dtype, vocabulary, width);
      double[] found = divergences(tokens, hidden, reference, head, logProbability(dtype));
      assertEquals(0, found[0], "of what is the same");
      assertTrue(Arrays.stream(found).allMatch(divergence -> divergence >= 0));
    }
  }

  /** More tokens and entries than any backend takes at once. */
  @Test
  void measuresTheDivergenceOfManyTokensInParts() {
    PackedSequences tokens = tokens(new int[1000], new int[100]);
    float[] hidden = normal(1100 * 3);
    float[] reference = normal(1100 * 3);
    divergences(tokens, hidden, reference, weight(DType.F32, 8000, 3), Tolerance.LOG_PROBABILITY);
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
    divergences(tokens, hidden, reference, weight(DType.F32, 300, 16), Tolerance.BF16_PRODUCT);
  }

  @ParameterizedTest
  @CsvSource({
    "1,1,1",
    "1,7,31",
    "3,64,9",
    "7,127,3",
    "32,32,32",
    "33,257,65",
    "513,130,96",
    "2100,5,9"
  })
  void addsTheCrossProduct(int rows, int m, int n) {
    float[] a = normal(rows * m);
    float[] b = normal(rows * n);
    float[] sums = normal(m * n);
    same(
        "crossProduct",
        crossProduct(),
        run -> {
          Tensor out = run.tensor(sums, m, n);
          Tensor left = run.tensor(a, rows, m);
          run.on.crossProduct(left, run.tensor(b, rows, n), out);
          run.on.crossProduct(left.slice(0, 1), run.tensor(b, rows, n).slice(0, 1), out);
          return out;
        });
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 7, 31, 32, 33, 127, 257})
  void addsTheCrossProductOfATensorWithItself(int n) {
    float[] a = normal(40 * n);
    a[11] = Float.NaN;
    same(
        "crossProduct",
        crossProduct(),
        run -> {
          Tensor out = run.result(n, n);
          run.on.upload(new float[n * n], out);
          Tensor both = run.tensor(a, 40, n);
          run.on.crossProduct(both, both, out);
          return out;
        });
  }

  /** To f64, and then rounded once: by Gauss the same numbers come out, or their neighbours. */
  @ParameterizedTest
  @CsvSource({"1,1", "2,3", "7,1", "31,5", "32,1", "33,33", "130,7", "257,40"})
  void solvesRidgeRegression(int n, int outputs) {
    float[][] gram = {gram(n), gram(n)};
    for (int i = 0; i < n * n; i++) {
      // The second is part of the first.
      gram[0][i] += gram[1][i];
    }
    float[][] cross = {normal(outputs * n), normal(outputs * n)};
    double lambda = 0.3;
    double floor = 0.01;
    for (boolean all : new boolean[] {true, false}) {
      double[][] matrix = new double[n][n];
      double[][] right = new double[outputs][n];
      double trace = 0;
      for (int i = 0; i < n; i++) {
        for (int j = 0; j < n; j++) {
          matrix[i][j] = gram[0][i * n + j] - (all ? 0.0 : gram[1][i * n + j]);
        }
        trace += matrix[i][i];
        for (int k = 0; k < outputs; k++) {
          right[k][i] = cross[0][k * n + i] - (all ? 0.0 : cross[1][k * n + i]);
        }
      }
      for (int i = 0; i < n; i++) {
        matrix[i][i] += lambda * (matrix[i][i] + floor * trace / n);
      }
      double[][] expected = Elimination.solve(matrix, right);
      // Room for larger ones.
      try (LinearSystem system = solver().system(n + 2, outputs + 1);
          Run run = new Run(backend)) {
        Tensor out = run.result(outputs, n);
        system.ridge(
            difference(run, gram, n, all),
            difference(run, cross, outputs, all),
            lambda,
            floor,
            out);
        float[] found = run.download(out);
        for (int i = 0; i < found.length; i++) {
          float close = (float) expected[i / n][i % n];
          assertEquals(close, found[i], Math.ulp(close), n + ", " + i);
        }
        run.checkSentinels();
      }
    }
  }

  private static LinearSystem.Difference difference(
      Run run, float[][] allAndPart, int rows, boolean all) {
    int columns = allAndPart[0].length / rows;
    return new LinearSystem.Difference(
        run.tensor(allAndPart[0], rows, columns),
        all ? null : run.tensor(allAndPart[1], rows, columns));
  }

  /** The backend's, unless nothing solves on this machine. */
  private LinearSolver solver() {
    try {
      LinearSolver solver = backend.solver();
      assertTrue(solver.bytes(3, 2) >= 8 * 3 * (3 + 2));
      return solver;
    } catch (ResourceException e) {
      return abort(e.getMessage());
    }
  }

  /** Second moments of twice as many rows. */
  private float[] gram(int n) {
    float[] rows = normal(2 * n * n);
    float[] gram = new float[n * n];
    for (int i = 0; i < n; i++) {
      for (int j = 0; j < n; j++) {
        double sum = 0;
        for (int row = 0; row < 2 * n; row++) {
          sum += (double) rows[row * n + i] * rows[row * n + j];
        }
        gram[i * n + j] = (float) sum;
      }
    }
    return gram;
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 2, 7, 33, 130})
  void whitens(int n) {
    float[] gram = gram(n);
    long count = 3L * n;
    double floor = 0.1;
    double mean = 0;
    for (int i = 0; i < n; i++) {
      mean += gram[i * (n + 1)] / (double) count / n;
    }
    try (LinearSystem system = solver().system(n, n);
        Run run = new Run(backend)) {
      Tensor out = run.result(n, n);
      system.whitening(run.tensor(gram, n, n), count, floor, out);
      float[] r = run.download(out);
      run.checkSentinels();
      for (int i = 0; i < n; i++) {
        for (int j = 0; j < n; j++) {
          double whitened = 0;
          for (int a = 0; a < n; a++) {
            for (int b = 0; b < n; b++) {
              double moment = gram[a * n + b] / (double) count + (a == b ? floor * mean : 0);
              whitened += r[a * n + i] * moment * r[b * n + j];
            }
          }
          assertEquals(i == j ? 1 : 0, whitened, 1e-5);
          assertTrue(i <= j || r[i * n + j] == 0);
        }
      }
    }
  }

  @Test
  void saysWhereAMatrixIsNotPositiveDefinite() {
    int n = 100;
    float[] right = normal(n);
    try (LinearSystem system = solver().system(n, n);
        Run run = new Run(backend)) {
      Tensor out = run.result(1, n);
      LinearSystem.Difference cross = new LinearSystem.Difference(run.tensor(right, 1, n), null);
      for (float value : new float[] {-1, 0, Float.NaN, Float.POSITIVE_INFINITY}) {
        float[] gram = new float[n * n];
        for (int i = 0; i < n; i++) {
          gram[i * (n + 1)] = i == 60 ? value : 1;
        }
        Tensor matrix = run.tensor(gram, n, n);
        LinearSystem.Difference all = new LinearSystem.Difference(matrix, null);
        NotPositiveDefiniteException e =
            assertThrows(
                NotPositiveDefiniteException.class, () -> system.ridge(all, cross, 0, 0, out));
        // Its penalties are made of the trace.
        int order = Float.isFinite(value) ? 61 : 1;
        assertTrue(e.getMessage().contains("order " + order + " of 100"), e.getMessage());
        assertThrows(
            NotPositiveDefiniteException.class,
            () -> system.whitening(matrix, 1, 0, run.result(n, n)));
      }
      run.checkSentinels();
    }
  }

  @Test
  void refusesSystemsOfOtherShapes() {
    try (LinearSystem system = solver().system(3, 2);
        Run run = new Run(backend)) {
      Tensor matrix = run.result(3, 3);
      Tensor right = run.result(2, 3);
      Tensor large = run.result(4, 4);
      LinearSystem.Difference gram = new LinearSystem.Difference(matrix, null);
      LinearSystem.Difference cross = new LinearSystem.Difference(right, null);
      refuses(() -> system.ridge(cross, cross, 1, 0, right));
      refuses(() -> system.ridge(new LinearSystem.Difference(matrix, right), cross, 1, 0, right));
      refuses(() -> system.ridge(gram, gram, 1, 0, right));
      refuses(() -> system.ridge(gram, new LinearSystem.Difference(right, matrix), 1, 0, right));
      refuses(() -> system.whitening(matrix, 1, 0, right));
      refuses(() -> system.whitening(right, 1, 0, right));
      // There is no room.
      LinearSystem.Difference four = new LinearSystem.Difference(large, null);
      assertThrows(RuntimeException.class, () -> system.ridge(four, four, 1, 0, large));
      assertThrows(RuntimeException.class, () -> system.ridge(gram, gram, 1, 0, matrix));
      assertThrows(RuntimeException.class, () -> system.whitening(matrix, 1, 0, matrix));
      run.checkSentinels();
    }
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 7, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 257, 576, 4096})
  void measuresTheReciprocalSizeOfEachRow(int width) {
    float[] x = normal(5 * width);
    Arrays.fill(x, width, 2 * width, 0);
    x[3 * width - 1] = Float.NaN;
    for (double floor : new double[] {1e-6, 1}) {
      same(
          "inverseRms",
          Tolerance.ELEMENTWISE,
          run -> {
            Tensor out = run.result(5, 1);
            run.on.inverseRms(run.tensor(x, 5, width), floor, out);
            return out;
          });
    }
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 7, 15, 16, 17, 31, 32, 33, 127, 257, 40000})
  void scalesDifferencesRowByRow(int width) {
    float[] a = normal(3 * width);
    float[] b = normal(3 * width);
    float[] scale = normal(3);
    b[width] = Float.NEGATIVE_INFINITY;
    a[2 * width] = Float.NaN;
    for (float[] less : Arrays.asList(null, b)) {
      for (boolean inPlace : new boolean[] {false, true}) {
        same(
            "scaledDifference",
            Tolerance.ELEMENTWISE,
            run -> {
              Tensor from = run.tensor(a, 3, width);
              Tensor subtracted = less == null ? null : run.tensor(less, 3, width);
              Tensor out =
                  inPlace ? (subtracted == null ? from : subtracted) : run.result(3, width);
              run.on.scaledDifference(from, subtracted, run.tensor(scale, 3, 1), out);
              return out;
            });
      }
    }
  }

  @ParameterizedTest
  @CsvSource({
    "1,1", "3,7", "40,15", "7,16", "33,17", "100,33", "17,63", "5,65", "130,257", "9,4097"
  })
  void addsTheSquaresOfEachColumn(int rows, int width) {
    float[] x = normal(rows * width);
    float[] sums = normal(width);
    x[width / 2] = Float.NaN;
    same(
        "addSquares",
        Tolerance.ACCUMULATED,
        run -> {
          Tensor out = run.tensor(sums, 1, width);
          run.on.addSquares(run.tensor(x, rows, width), out);
          return out;
        });
  }

  @Test
  void copiesSlicesAndReshapes() {
    float[] x = normal(6 * 10);
    same(
        "copy",
        Tolerance.EXACT,
        run -> {
          Tensor rows = run.tensor(x, 6, 10);
          Tensor out = run.result(6, 10);
          run.on.copy(rows, out);
          run.on.copy(rows.slice(4, 6), out.reshape(3, 20).slice(1, 2));
          run.on.add(out.slice(5, 6), rows.slice(0, 1));
          return out;
        });
  }

  @Test
  void startsWithZeros() {
    try (TensorArena arena = backend.arena()) {
      float[] values = new float[12];
      Arrays.fill(values, 1);
      backend.download(arena.allocate(DType.F32, 3, 4), values);
      assertTrue(Arrays.equals(values, new float[12]));
    }
  }

  @Test
  void refusesArgumentsThatDoNotFit() {
    try (Run run = new Run(backend)) {
      Tensor x = run.tensor(new float[12], 3, 4);
      Tensor other = run.tensor(new float[15], 3, 5);
      Tensor half = run.arena.allocate(DType.F16, 3, 4);
      Tensor weight = run.on.weight(weight(DType.F32, 5, 4));
      Tensor norm = run.on.weight(weight(DType.F32, 1, 4));
      TokenBatch two = run.batch(tokens(new int[] {1, 2}));
      TokenBatch three = run.batch(tokens(new int[] {1, 2, 9}));
      AttentionSpec spec = new AttentionSpec(2, 2, 2, 0, 1, DType.F32);
      refuses(() -> backend.embed(weight, three, x));
      refuses(() -> backend.embed(weight, two, x));
      refuses(() -> backend.rmsNorm(x, norm, EPS, other));
      refuses(() -> backend.rmsNorm(other, norm, EPS, other));
      refuses(() -> backend.rmsNorm(half, norm, EPS, x));
      refuses(() -> backend.linear(x, weight, null, x));
      refuses(() -> backend.linear(other, weight, null, other));
      refuses(() -> backend.linear(x, weight, norm, other));
      refuses(() -> backend.rope(x, 3, three));
      refuses(() -> backend.rope(x, 4, two));
      refuses(() -> backend.attention(x, x, x, spec, two, x));
      refuses(() -> backend.attention(x, other, x, spec, three, x));
      refuses(() -> backend.gatedActivation(Activation.SILU, x, other, x));
      refuses(() -> backend.gatedSlopes(Activation.SILU, x, other));
      refuses(() -> backend.gatedSlopes(Activation.SILU, x, half));
      refuses(() -> backend.multiply(x, other, x));
      refuses(() -> backend.multiply(x, x, other));
      refuses(() -> backend.multiply(x, half, x));
      refuses(() -> backend.add(x, other));
      refuses(() -> backend.add(half, half));
      refuses(() -> backend.cosine(x, other, three));
      refuses(() -> backend.cosine(x, x, two));
      refuses(() -> backend.logProbability(x, weight, three, new double[3]));
      refuses(() -> backend.logProbability(x, weight, two, new double[2]));
      refuses(() -> backend.klDivergence(x, other, weight, three, new double[3]));
      refuses(() -> backend.klDivergence(x, x, weight, two, new double[3]));
      refuses(() -> backend.klDivergence(x, x, weight, three, new double[2]));
      refuses(() -> backend.crossProduct(x, other, other));
      refuses(() -> backend.crossProduct(x, x.reshape(4, 3), other));
      refuses(() -> backend.crossProduct(half, x, run.result(4, 4)));
      refuses(() -> backend.inverseRms(x, 0, run.result(1, 3)));
      refuses(() -> backend.scaledDifference(x, null, run.result(1, 3), x));
      refuses(() -> backend.scaledDifference(x, other, run.result(3, 1), x));
      refuses(() -> backend.addSquares(x, run.result(4, 1)));
      refuses(() -> backend.copy(x, half));
      refuses(() -> backend.copy(x, other));
      refuses(() -> backend.upload(new float[11], x));
      refuses(() -> backend.download(half, new float[12]));
    }
  }

  private static void refuses(Runnable call) {
    assertThrows(IllegalArgumentException.class, call::run);
  }

  private void attention(
      int heads, int keyHeads, int width, int window, int[] lengths, int[] past, DType... types) {
    int[] offsets = new int[lengths.length + 1];
    for (int s = 0; s < lengths.length; s++) {
      offsets[s + 1] = offsets[s] + lengths[s];
    }
    int rows = offsets[lengths.length];
    PackedSequences tokens = new PackedSequences(new int[rows], offsets, past);
    int keys = tokens.keyOffsets()[lengths.length];
    float[] query = normal(rows * heads * width);
    float[] key = normal(keys * keyHeads * width);
    float[] value = normal(keys * keyHeads * width);
    for (DType products : types) {
      AttentionSpec spec =
          new AttentionSpec(
              heads, keyHeads, width, window, (float) (1 / Math.sqrt(width)), products);
      same(
          "attention in " + products,
          attention(products),
          run -> {
            Tensor out = run.result(rows, heads * width);
            run.on.attention(
                run.tensor(query, rows, heads * width),
                run.tensor(key, keys, keyHeads * width),
                run.tensor(value, keys, keyHeads * width),
                spec,
                run.batch(tokens),
                out);
            return out;
          });
    }
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

  private void logProbabilities(
      PackedSequences tokens, float[] hidden, HostTensor head, Tolerance tolerance) {
    int rows = tokens.size();
    Function<Run, double[]> score =
        run -> {
          double[] out = new double[rows];
          Tensor states = run.tensor(hidden, rows, hidden.length / rows);
          run.on.logProbability(states, run.on.weight(head), run.batch(tokens), out);
          return out;
        };
    double[] actual = of(backend, score);
    close("logProbability " + head.dtype(), tolerance, 1, of(reference, score), actual);
    for (int s = 0; s < tokens.sequences(); s++) {
      assertEquals(0, actual[tokens.offsets()[s + 1] - 1], "the last token has no next one");
    }
  }

  private double[] divergences(
      PackedSequences tokens,
      float[] hidden,
      float[] reference,
      HostTensor head,
      Tolerance tolerance) {
    int rows = tokens.size();
    Function<Run, double[]> measure =
        run -> {
          double[] out = new double[rows];
          run.on.klDivergence(
              run.tensor(hidden, rows, hidden.length / rows),
              run.tensor(reference, rows, reference.length / rows),
              run.on.weight(head),
              run.batch(tokens),
              out);
          return out;
        };
    double[] actual = of(backend, measure);
    close("klDivergence " + head.dtype(), tolerance, 1, of(this.reference, measure), actual);
    return actual;
  }

  /** Does the same on both backends and compares the tensors that come out. */
  private void same(String op, Tolerance tolerance, Function<Run, Tensor> call) {
    same(op, tolerance, NEGLIGIBLE, call);
  }

  /** Likewise, where the result may be smaller than the terms that it is the sum of. */
  private void same(String op, Tolerance tolerance, double terms, Function<Run, Tensor> call) {
    Function<Run, double[]> values = run -> widen(run.download(call.apply(run)));
    double[] expected = of(reference, values);
    double largest =
        Arrays.stream(expected).filter(Double::isFinite).map(Math::abs).reduce(terms, Math::max);
    close(op, tolerance, largest, expected, of(backend, values));
  }

  private static double[] of(Backend on, Function<Run, double[]> call) {
    try (Run run = new Run(on)) {
      double[] values = call.apply(run);
      run.checkSentinels();
      return values;
    }
  }

  private static void close(
      String op, Tolerance tolerance, double scale, double[] expected, double[] actual) {
    assertEquals(expected.length, actual.length, op);
    for (int i = 0; i < expected.length; i++) {
      int at = i;
      if (tolerance == Tolerance.EXACT || !Double.isFinite(expected[i])) {
        assertEquals(expected[i], actual[i], () -> op + ": element " + at);
      } else {
        double error = Math.abs(actual[i] - expected[i]);
        assertTrue(
            error <= tolerance.limit() * scale,
            () ->
                String.format(
                    Locale.ROOT,
                    "%s: element %d of %d is %s, must be %s; off by %.2g of the largest, allowed %s %.1g",
                    op,
                    at,
                    expected.length,
                    actual[at],
                    expected[at],
                    error / scale,
                    tolerance,
                    tolerance.limit()));
      }
    }
  }

  private static double[] widen(float[] values) {
    double[] wide = new double[values.length];
    for (int i = 0; i < values.length; i++) {
      wide[i] = values[i];
    }
    return wide;
  }

  private static PackedSequences tokens(int[]... sequences) {
    return PackedSequences.of(List.of(sequences));
  }

  private float[] normal(int n) {
    float[] values = new float[n];
    for (int i = 0; i < n; i++) {
      values[i] = (float) random.nextGaussian();
    }
    return values;
  }

  private HostTensor weight(DType dtype, int rows, int columns) {
    return weight(dtype, rows, columns, 1);
  }

  /**
   * Random weights, {@code offset} bytes after an aligned address and at the end of their memory.
   */
  private HostTensor weight(DType dtype, int rows, int columns, int offset) {
    long bytes = MemoryTensor.byteSize(dtype, rows, columns);
    MemorySegment data = memory.allocate(bytes + offset, 64).asSlice(offset, bytes);
    MemoryTensor tensor = new MemoryTensor(dtype, rows, columns, data);
    for (long i = 0; i < tensor.elements(); i++) {
      tensor.set(i, random.nextGaussian());
    }
    return new HostTensor("test", dtype, List.of((long) rows, (long) columns), data);
  }

  /** Tensors of one call on one backend. */
  private static final class Run implements AutoCloseable {
    private final Backend on;
    private final TensorArena arena;
    private final List<TokenBatch> batches = new ArrayList<>();
    private final List<Tensor> sentinels = new ArrayList<>();

    Run(Backend on) {
      this.on = on;
      this.arena = on.arena();
    }

    Tensor tensor(float[] values, long rows, long columns) {
      Tensor tensor = result(rows, columns);
      on.upload(values, tensor);
      return tensor;
    }

    /** A tensor between two rows that no op may touch. */
    Tensor result(long rows, long columns) {
      Tensor all = arena.allocate(DType.F32, rows + 2, columns);
      float[] sentinel = new float[(int) columns];
      Arrays.fill(sentinel, SENTINEL);
      for (Tensor guard : List.of(all.slice(0, 1), all.slice(rows + 1, rows + 2))) {
        on.upload(sentinel, guard);
        sentinels.add(guard);
      }
      return all.slice(1, rows + 1);
    }

    /** What a tensor of any dtype holds, exactly. */
    Tensor widened(Tensor tensor) {
      Tensor wide = result(tensor.rows(), tensor.columns());
      on.mix(List.of(new TensorMix(wide, new double[] {1}, List.of(tensor))));
      return wide;
    }

    TokenBatch batch(PackedSequences tokens) {
      return batch(tokens, 1);
    }

    TokenBatch batch(PackedSequences tokens, int pairs) {
      float[] cosine = new float[tokens.size() * pairs];
      float[] sine = new float[cosine.length];
      for (int i = 0; i < cosine.length; i++) {
        cosine[i] = (float) Math.cos(0.7 * i);
        sine[i] = (float) Math.sin(0.7 * i);
      }
      TokenBatch batch = on.batch(tokens, cosine, sine);
      batches.add(batch);
      return batch;
    }

    float[] download(Tensor tensor) {
      float[] values = new float[(int) tensor.elements()];
      on.download(tensor, values);
      return values;
    }

    void checkSentinels() {
      for (Tensor guard : sentinels) {
        for (float value : download(guard)) {
          assertEquals(SENTINEL, value, "a row beside a tensor was overwritten");
        }
      }
    }

    @Override
    public void close() {
      batches.forEach(TokenBatch::close);
      arena.close();
    }
  }
}
