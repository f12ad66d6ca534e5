package dev.laco.backend;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;

import dev.laco.model.Activation;
import dev.laco.model.ClampedGate;
import dev.laco.model.DType;
import dev.laco.model.HostTensor;
import dev.laco.model.LogitSpec;
import dev.laco.model.NormSpec;
import dev.laco.model.PackedSequences;
import dev.laco.model.RotaryPairs;
import dev.laco.model.RouterSpec;
import dev.laco.model.RouterSpec.Scores;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

/** What every backend must do as {@link ForwardOps}. */
public abstract class ForwardContract extends Contract {
  /** Tokens for which a slot of a cache has room. */
  private static final int SLOT = 9;

  /** That of gpt-oss. */
  private static final ClampedGate GATE = new ClampedGate(1.702, 7);

  private static final List<NormSpec> NORMS = List.of(new NormSpec(EPS, 0), new NormSpec(EPS, 1));

  protected ForwardContract(TestedBackend tested) {
    super(tested);
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 7, 31, 32, 33, 127, 257, 576})
  void embedsTheRowOfEachToken(int width) {
    for (DType dtype : DType.values()) {
      HostTensor table = weight(dtype, 11, width);
      PackedSequences tokens = tokens(new int[] {3, 0, 10}, new int[] {10});
      for (double scale : new double[] {1, 0.75}) {
        // Products by 3/4 of numbers with 24 bits are rounded.
        same(
            "embed " + dtype,
            scale == 1 ? Tolerance.EXACT : Tolerance.ELEMENTWISE,
            run -> {
              Tensor out = run.result(4, width);
              run.on.embed(run.on.weight(table), run.batch(tokens), scale, out);
              return out;
            });
      }
    }
  }

  @ParameterizedTest
  @CsvSource({"1, 1", "4, 2", "8, 8", "31, 3", "60, 4", "128, 8", "257, 1"})
  void routesToTheLargestLogits(int count, int chosen) {
    float[] logits = normal(5 * count);
    for (int i = 0; i < count; i++) {
      // Equal ones; NaN and infinities; nothing but NaN.
      logits[count + i] = i % 3;
      logits[2 * count + i] = ENDS[i % ENDS.length];
      logits[3 * count + i] = Float.NaN;
      logits[4 * count + i] = Float.NEGATIVE_INFINITY;
    }
    for (boolean normalised : new boolean[] {false, true}) {
      sameRoutes(logits, null, count, chosen, RouterSpec.softmax(normalised));
      sameRoutes(logits, null, count, chosen, new RouterSpec(Scores.SIGMOID, normalised, 2.5));
      for (Scores scores : Scores.values()) {
        RouterSpec router = new RouterSpec(scores, normalised, 1, 0.25, null);
        sameRoutes(logits, null, count, chosen, router);
      }
    }
  }

  @ParameterizedTest
  @CsvSource({"1, 1", "4, 2", "8, 8", "31, 3", "60, 4", "128, 8", "257, 1"})
  void routesToTheLargestCorrectedScores(int count, int chosen) {
    float[] logits = normal(5 * count);
    Arrays.fill(logits, 2 * count, 3 * count, Float.NaN);
    Arrays.fill(logits, 3 * count, 4 * count, Float.NEGATIVE_INFINITY);
    // Scores that differ by more than any rounding, in an order that is not that of logits.
    float[] steps = new float[count];
    for (int i = 0; i < count; i++) {
      steps[i] = 10 * (i * 7 % count);
    }
    for (DType dtype : DType.values()) {
      Correction correction = new Correction(steps, dtype);
      for (boolean normalised : new boolean[] {false, true}) {
        for (Scores scores : Scores.values()) {
          sameRoutes(logits, correction, count, chosen, new RouterSpec(scores, normalised, 0.75));
        }
      }
    }
  }

  @ParameterizedTest
  @CsvSource({
    "4, 2, 2, 1, 2",
    "8, 2, 4, 2, 2",
    "12, 3, 4, 1, 1",
    "64, 6, 8, 3, 1",
    "256, 8, 8, 4, 2",
    "128, 5, 64, 5, 2",
    "130, 4, 65, 3, 1"
  })
  void routesToTheExpertsOfSomeGroups(int count, int chosen, int groups, int stay, int best) {
    RouterSpec.Groups spec = new RouterSpec.Groups(groups, stay, best);
    float[] logits = normal(4 * count);
    Arrays.fill(logits, 2 * count, 3 * count, Float.NaN);
    Arrays.fill(logits, 3 * count, 4 * count, Float.NEGATIVE_INFINITY);
    // Without the largest scores of a row, and with a whole group of NaN.
    Arrays.fill(logits, count, count + count / groups, Float.NaN);
    for (Scores scores : Scores.values()) {
      for (boolean normalised : new boolean[] {false, true}) {
        RouterSpec router = new RouterSpec(scores, normalised, 0.75, spec);
        if (groups > RouterSpec.Groups.MOST) {
          refuses(() -> sameRoutes(logits, null, count, chosen, router));
        } else {
          sameRoutes(logits, null, count, chosen, router);
          Correction correction = new Correction(normal(count), DType.F32);
          sameRoutes(logits, correction, count, chosen, router);
        }
      }
    }
  }

  @Test
  void aGroupOfTwoGoodExpertsGoesBeforeOneOfTheBest() {
    float[] logits = {0, 3, -9, -9, 1, 1, 2, -9};
    assertArrayEquals(new int[] {4, 5}, chosen(logits, new RouterSpec.Groups(4, 1, 2)));
    assertArrayEquals(new int[] {1, 0}, chosen(logits, new RouterSpec.Groups(4, 1, 1)));
    assertArrayEquals(new int[] {1, 4}, chosen(logits, new RouterSpec.Groups(4, 2, 2)));
    assertArrayEquals(new int[] {1, 6}, chosen(logits, new RouterSpec.Groups(4, 2, 1)));
  }

  private int[] chosen(float[] logits, RouterSpec.Groups groups) {
    int[] experts = new int[2];
    try (Run run = new Run(backend)) {
      Tensor row = run.tensor(logits, 1, logits.length);
      RouterSpec router = new RouterSpec(Scores.SIGMOID, true, 1, groups);
      run.on.route(row, null, router, experts, new float[2]);
    }
    return experts;
  }

  @Test
  void choosesAnExpertOfASmallLogitByItsCorrection() {
    float[] correction = {0, 0.5f, 0};
    int[] experts = new int[2];
    float[] shares = new float[2];
    try (Run run = new Run(backend)) {
      run.on.route(
          run.tensor(new float[] {0, -1, 1}, 1, 3),
          run.tensor(correction, 1, 3),
          new RouterSpec(Scores.SIGMOID, true, 2),
          experts,
          shares);
    }
    // Scores 0.5, 0.2689, 0.7311; with the correction 0.5, 0.7689, 0.7311.
    assertArrayEquals(new int[] {1, 2}, experts);
    assertArrayEquals(new float[] {2 * 0.2689414f, 2 * 0.7310586f}, shares, 1e-6f);
  }

  private record Correction(float[] values, DType dtype) {
    Tensor on(Run run) {
      Tensor wide = run.tensor(values, 1, values.length);
      return dtype == DType.F32 ? wide : run.rounded(wide, dtype);
    }
  }

  private void sameRoutes(
      float[] logits, @Nullable Correction correction, int count, int chosen, RouterSpec router) {
    String op =
        String.format(
            Locale.ROOT, "route %d of %d, %s, %s", chosen, count, router, correction != null);
    int[] expected = new int[logits.length / count * chosen];
    int[] experts = expected.clone();
    double[] shares = of(reference, run -> route(run, logits, correction, count, router, expected));
    double[] found = of(backend, run -> route(run, logits, correction, count, router, experts));
    assertArrayEquals(expected, experts, () -> tested + ": " + op);
    close(op, Tolerance.ELEMENTWISE, 1, shares, found);
  }

  private static double[] route(
      Run run,
      float[] logits,
      @Nullable Correction correction,
      int count,
      RouterSpec router,
      int[] experts) {
    float[] shares = new float[experts.length];
    Tensor corrected = correction == null ? null : correction.on(run);
    run.on.route(
        run.tensor(logits, logits.length / count, count), corrected, router, experts, shares);
    return widen(shares);
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 7, 31, 32, 33, 127, 257, 576})
  void gathersRowsAndAddsToThem(int width) {
    float[] x = normal(6 * width);
    float[] y = normal(3 * width);
    y[width] = Float.NaN;
    int[] rows = {0, 3, 5};
    same(
        "gather",
        Tolerance.EXACT,
        run -> {
          Tensor out = run.result(4, width);
          run.on.gather(run.tensor(x, 6, width), new int[] {5, 0, 3, 5}, out);
          return out;
        });
    same(
        "addRows",
        Tolerance.ELEMENTWISE,
        run -> {
          Tensor sum = run.tensor(x, 6, width);
          run.on.addRows(sum, rows, new float[] {0.5f, -3f, 1f}, run.tensor(y, 3, width));
          return sum;
        });
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 2, 3, 4, 7, 8, 16, 31, 32, 33, 64, 127, 128, 257})
  void copiesColumnsToOneOrMoreRowsAndZerosBehindThem(int count) {
    float[] x = normal(3 * (count + 4));
    x[count] = Float.NaN;
    float[] before = normal(12 * (count + 12));
    for (int from : new int[] {0, 1, 4}) {
      for (int to : new int[] {0, 3, 8}) {
        for (int copies : new int[] {1, 4}) {
          int rows = 3 * copies;
          same(
              "copyColumns " + from + ", " + to + ", " + copies,
              Tolerance.EXACT,
              run -> {
                Tensor out =
                    run.tensor(Arrays.copyOf(before, rows * (count + 12)), rows, count + 12);
                run.on.copyColumns(run.tensor(x, 3, count + 4), from, count, out, to);
                return out;
              });
        }
      }
    }
    rounds(
        "copyColumns",
        12,
        count + 4,
        (run, out) -> run.on.copyColumns(run.tensor(x, 3, count + 4), 2, count, out, 0));
  }

  @Test
  void refusesColumnsThatThereAreNot() {
    try (Run run = new Run(backend)) {
      Tensor x = run.result(3, 4);
      Tensor out = run.result(6, 5);
      refuses(() -> backend.copyColumns(x, 0, 5, out, 0));
      refuses(() -> backend.copyColumns(x, 2, 3, out, 0));
      refuses(() -> backend.copyColumns(x, -1, 2, out, 0));
      refuses(() -> backend.copyColumns(x, 0, 4, out, 2));
      refuses(() -> backend.copyColumns(x, 0, 4, out, -1));
      refuses(() -> backend.copyColumns(x, 0, 0, out, 0));
      refuses(() -> backend.copyColumns(x, 0, 4, run.result(4, 5), 0));
      refuses(() -> backend.copyColumns(x, 0, 4, run.result(2, 5), 0));
    }
  }

  /** Three sequences in a cache of five slots for nine tokens each: the next tokens of each. */
  private static PackedSequences inSlots(int[] past, int... lengths) {
    int[] slots = {0, 2, 4};
    int[] offsets = new int[4];
    int[] rows = new int[4];
    for (int s = 0; s < 3; s++) {
      offsets[s + 1] = offsets[s] + lengths[s];
      rows[s] = slots[s] * SLOT;
    }
    rows[3] = 5 * SLOT;
    return new PackedSequences(new int[offsets[3]], offsets, past, rows);
  }

  @ParameterizedTest
  @CsvSource({"1,4", "3,1", "7,2", "16,4", "33,5", "64,3", "130,4", "257,9"})
  void convolvesEachColumn(int columns, int width) {
    float[] x = normal(14 * columns);
    float[] weight = normal(columns * width);
    x[3 * columns] = Float.NaN;
    same(
        "causalConvolution",
        Tolerance.ACCUMULATED,
        run -> {
          Tensor out = run.result(14, columns);
          run.on.causalConvolution(
              run.tensor(x, 14, columns),
              run.tensor(weight, columns, width),
              run.batch(tokens(new int[5], new int[1], new int[8])),
              null,
              out);
          return out;
        });
  }

  @ParameterizedTest
  @CsvSource({"1,4", "5,2", "33,5", "64,4"})
  void convolvesWithRowsOfEarlierTokens(int columns, int width) {
    float[] x = normal(9 * columns);
    float[] next = normal(7 * columns);
    float[] weight = normal(columns * width);
    float[] before = normal(5 * (width - 1) * columns);
    sameEach(
        "causalConvolution",
        Tolerance.ACCUMULATED,
        run -> {
          Tensor rows = run.tensor(before, 5, (long) (width - 1) * columns);
          SequenceStates states = new SequenceStates(rows, SLOT);
          Tensor matrix = run.tensor(weight, columns, width);
          Tensor out = run.result(9, columns);
          Tensor more = run.result(7, columns);
          run.on.causalConvolution(
              run.tensor(x, 9, columns),
              matrix,
              run.batch(inSlots(new int[3], 1, 2, 6)),
              states,
              out);
          run.on.causalConvolution(
              run.tensor(next, 7, columns),
              matrix,
              run.batch(inSlots(new int[] {1, 2, 6}, 1, 5, 1)),
              states,
              more);
          return List.of(out, more, rows);
        });
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
  void attendsByTheDeltaRule(int keyHeads, int valueHeads, int key, int value) {
    DeltaSpec spec = new DeltaSpec(keyHeads, valueHeads, key, value);
    Delta delta = new Delta(spec, 84);
    same(
        "gatedDelta",
        Tolerance.ACCUMULATED,
        run -> {
          Tensor out = run.result(84, spec.values());
          TokenBatch batch = run.batch(tokens(new int[5], new int[1], new int[78]));
          delta.run(run, 0, batch, null, out);
          return out;
        });
  }

  @ParameterizedTest
  @CsvSource({"1,1,1,1", "2,4,8,16", "1,2,33,17", "1,1,128,128"})
  void attendsByTheDeltaRuleFromStates(int keyHeads, int valueHeads, int key, int value) {
    DeltaSpec spec = new DeltaSpec(keyHeads, valueHeads, key, value);
    Delta delta = new Delta(spec, 16);
    float[] before = normal((int) (5 * spec.states()));
    sameEach(
        "gatedDelta",
        Tolerance.ACCUMULATED,
        run -> {
          Tensor rows = run.tensor(before, 5, spec.states());
          SequenceStates states = new SequenceStates(rows, SLOT);
          Tensor out = run.result(9, spec.values());
          Tensor more = run.result(7, spec.values());
          delta.run(run, 0, run.batch(inSlots(new int[3], 1, 2, 6)), states, out);
          TokenBatch next = run.batch(inSlots(new int[] {1, 2, 6}, 1, 5, 1));
          delta.run(run, 9, next, states, more);
          return List.of(out, more, rows);
        });
  }

  @Test
  void decaysAtTheEndsOfItsRange() {
    DeltaSpec spec = new DeltaSpec(1, ENDS.length, 4, 4);
    Delta delta = new Delta(spec, 3);
    for (boolean ofDecay : new boolean[] {true, false}) {
      System.arraycopy(ENDS, 0, ofDecay ? delta.decay : delta.rate, ENDS.length, ENDS.length);
      same(
          "gatedDelta",
          Tolerance.ACCUMULATED,
          run -> {
            Tensor out = run.result(3, spec.values());
            delta.run(run, 0, run.batch(tokens(new int[3])), null, out);
            return out;
          });
    }
  }

  @Test
  void refusesStatesThatThereAreNot() {
    DeltaSpec spec = new DeltaSpec(1, 2, 3, 4);
    Delta delta = new Delta(spec, 9);
    try (Run run = new Run(backend)) {
      Tensor out = run.result(9, spec.values());
      TokenBatch batch = run.batch(inSlots(new int[3], 1, 2, 6));
      TokenBatch later = run.batch(inSlots(new int[] {1, 0, 0}, 1, 2, 6));
      SequenceStates four = new SequenceStates(run.result(4, spec.states()), SLOT);
      SequenceStates wide = new SequenceStates(run.result(5, spec.states() + 1), SLOT);
      SequenceStates one = new SequenceStates(run.result(5, spec.states()), 5 * SLOT);
      refuses(() -> delta.run(run, 0, batch, four, out));
      refuses(() -> delta.run(run, 0, batch, wide, out));
      refuses(() -> delta.run(run, 0, batch, one, out));
      refuses(() -> delta.run(run, 0, batch, new SequenceStates(one.rows(), 0), out));
      refuses(() -> delta.run(run, 0, later, null, out));
      refuses(() -> delta.run(run, 0, batch, null, run.result(9, 7)));
      Tensor x = run.result(9, 3);
      Tensor weight = run.result(3, 4);
      refuses(() -> backend.causalConvolution(x, weight, batch, four, run.result(9, 3)));
      refuses(() -> backend.causalConvolution(x, weight, later, null, run.result(9, 3)));
      refuses(() -> backend.causalConvolution(x, run.result(2, 4), batch, null, run.result(9, 3)));
      refuses(() -> backend.causalConvolution(x, weight, batch, null, run.result(9, 4)));
    }
    refuses(() -> new DeltaSpec(2, 3, 4, 4));
    refuses(() -> new DeltaSpec(1, 1, 0, 4));
  }

  @Test
  void refusesRowsAndExpertsThatThereAreNot() {
    try (Run run = new Run(backend)) {
      Tensor x = run.result(3, 4);
      Tensor two = run.result(2, 4);
      float[] factors = new float[2];
      refuses(() -> backend.gather(x, new int[] {0, 3}, two));
      refuses(() -> backend.gather(x, new int[] {-1, 0}, two));
      refuses(() -> backend.gather(x, new int[] {0}, two));
      refuses(() -> backend.addRows(x, new int[] {1, 1}, factors, two));
      refuses(() -> backend.addRows(x, new int[] {2, 1}, factors, two));
      refuses(() -> backend.addRows(x, new int[] {1, 3}, factors, two));
      refuses(() -> backend.addRows(x, new int[] {0, 1}, new float[3], two));
      RouterSpec router = RouterSpec.softmax(true);
      refuses(() -> backend.route(x, null, router, new int[15], new float[15]));
      refuses(() -> backend.route(x, null, router, new int[4], new float[4]));
      refuses(() -> backend.route(x, null, router, new int[6], new float[3]));
      refuses(() -> backend.route(x, two, router, new int[6], new float[6]));
      for (RouterSpec.Groups groups :
          List.of(
              new RouterSpec.Groups(3, 1, 1),
              new RouterSpec.Groups(0, 1, 1),
              new RouterSpec.Groups(2, 3, 1),
              new RouterSpec.Groups(2, 0, 1),
              new RouterSpec.Groups(2, 1, 3),
              new RouterSpec.Groups(2, 1, 0),
              new RouterSpec.Groups(4, 2, 2),
              new RouterSpec.Groups(4, 1, 1))) {
        RouterSpec grouped = new RouterSpec(Scores.SIGMOID, true, 1, groups);
        refuses(() -> backend.route(x, null, grouped, new int[6], new float[6]));
      }
    }
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 2, 3, 5, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 257, 576, 4096})
  void normalisesRowsByTheirRootMeanSquare(int width) {
    for (DType dtype : DType.values()) {
      HostTensor weight = weight(dtype, 1, width);
      float[] x = normal(3 * width);
      for (NormSpec norm : NORMS) {
        same(
            "rmsNorm " + dtype + " " + norm,
            Tolerance.ELEMENTWISE,
            run -> {
              Tensor out = run.result(3, width);
              run.on.rmsNorm(run.tensor(x, 3, width), run.on.weight(weight), norm, out);
              return out;
            });
      }
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
          run.on.rmsNorm(rows, run.on.weight(weight), NORMS.getFirst(), rows);
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
      NormSpec norm = dtype == DType.F32 ? NORMS.getFirst() : NORMS.getLast();
      for (boolean inPlace : new boolean[] {false, true}) {
        for (boolean residual : new boolean[] {false, true}) {
          same(
              "addRmsNorm " + dtype,
              Tolerance.ELEMENTWISE,
              run -> {
                Tensor sum = run.tensor(x, 3, width);
                Tensor added = run.tensor(y, 3, width);
                Tensor out = inPlace ? added : run.result(3, width);
                run.on.addRmsNorm(sum, added, run.on.weight(weight), norm, out);
                return residual ? sum : out;
              });
        }
      }
    }
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 7, 31, 32, 33, 127, 257, 576, 4096})
  void normalisesRowsByTheirMeanAndVariance(int width) {
    float[] x = normal(6 * width);
    float[] y = normal(6 * width);
    y[width] = Float.NaN;
    for (int i = 2 * width; i < 3 * width; i++) {
      x[i] += 10;
    }
    for (DType dtype : DType.values()) {
      // A bias of another type, none, and one of the weight's type.
      HostTensor bias =
          switch (dtype) {
            case F32 -> weight(DType.BF16, 3, width);
            case F16 -> null;
            case BF16 -> weight(dtype, 3, width);
          };
      for (boolean inPlace : new boolean[] {false, true}) {
        NormSpec norm = NORMS.get(inPlace ? 0 : 1);
        for (int sets : new int[] {1, 3}) {
          HostTensor weight = weight(dtype, 3, width).rows(0, sets);
          same(
              "layerNorm " + dtype + " with " + sets + " rows of weights",
              Tolerance.ELEMENTWISE,
              10,
              run -> {
                Tensor rows = run.tensor(x, 6, width);
                Tensor out = inPlace ? rows : run.result(6, width);
                Tensor shift = bias == null ? null : run.on.weight(bias.rows(0, sets));
                run.on.layerNorm(rows, run.on.weight(weight), shift, norm, out);
                return out;
              });
        }
        HostTensor weight = weight(dtype, 1, width);
        for (boolean residual : new boolean[] {false, true}) {
          same(
              "addLayerNorm " + dtype,
              Tolerance.ELEMENTWISE,
              10,
              run -> {
                Tensor sum = run.tensor(x, 6, width);
                Tensor added = run.tensor(y, 6, width);
                Tensor out = inPlace ? added : run.result(6, width);
                Tensor shift = bias == null ? null : run.on.weight(bias.rows(0, 1));
                run.on.addLayerNorm(sum, added, run.on.weight(weight), shift, norm, out);
                return residual ? sum : out;
              });
        }
      }
    }
  }

  /** An op that writes activations. */
  private interface Writer {
    void write(Run run, Tensor out);
  }

  /**
   * What an op writes in 16 bits is what it writes in f32, rounded; rows of the same memory in
   * front of it and behind stay zeros.
   */
  private void rounds(String op, int rows, int width, Writer writer) {
    rounds(op, Tolerance.EXACT, rows, width, writer);
  }

  private void rounds(String op, Tolerance tolerance, int rows, int width, Writer writer) {
    for (DType dtype : new DType[] {DType.F16, DType.BF16}) {
      double[][] values =
          of(
              backend,
              run -> {
                Tensor all = run.arena.allocate(dtype, rows + 2, width);
                writer.write(run, all.slice(1, rows + 1));
                Tensor plain = run.result(rows, width);
                writer.write(run, plain);
                Tensor expected = run.arena.allocate(dtype, rows + 2, width);
                run.on.copy(plain, expected.slice(1, rows + 1));
                return new double[][] {
                  widen(run.download(run.widened(expected))), widen(run.download(run.widened(all)))
                };
              });
      double largest =
          Arrays.stream(values[0]).filter(Double::isFinite).map(Math::abs).reduce(1, Math::max);
      close(op + " in " + dtype, tolerance, largest, values[0], values[1]);
    }
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 7, 15, 16, 17, 31, 33, 63, 64, 127, 257, 576, 4100})
  void writesNormsAndGatesInSixteenBits(int width) {
    float[] x = normal(6 * width);
    float[] y = normal(6 * width);
    y[width] = Float.NaN;
    for (DType dtype : DType.values()) {
      HostTensor weight = weight(dtype, 3, width);
      HostTensor bias = weight(dtype, 3, width);
      HostTensor row = weight.rows(0, 1);
      rounds(
          "rmsNorm " + dtype,
          6,
          width,
          (run, out) ->
              run.on.rmsNorm(run.tensor(x, 6, width), run.on.weight(row), NORMS.getLast(), out));
      rounds(
          "addRmsNorm " + dtype,
          6,
          width,
          (run, out) ->
              run.on.addRmsNorm(
                  run.tensor(x, 6, width),
                  run.tensor(y, 6, width),
                  run.on.weight(row),
                  NORMS.getFirst(),
                  out));
      for (boolean shifted : new boolean[] {false, true}) {
        rounds(
            "layerNorm " + dtype,
            6,
            width,
            (run, out) ->
                run.on.layerNorm(
                    run.tensor(x, 6, width),
                    run.on.weight(weight),
                    shifted ? run.on.weight(bias) : null,
                    NORMS.getLast(),
                    out));
        rounds(
            "addLayerNorm " + dtype,
            6,
            width,
            (run, out) ->
                run.on.addLayerNorm(
                    run.tensor(x, 6, width),
                    run.tensor(y, 6, width),
                    run.on.weight(row),
                    shifted ? run.on.weight(bias.rows(0, 1)) : null,
                    NORMS.getLast(),
                    out));
      }
    }
    for (Activation activation : Activation.values()) {
      for (boolean gated : new boolean[] {false, true}) {
        rounds(
            activation + (gated ? " times up" : ""),
            6,
            width,
            (run, out) ->
                run.on.gatedActivation(
                    activation,
                    run.tensor(x, 6, width),
                    gated ? run.tensor(y, 6, width) : null,
                    out));
      }
    }
  }

  @ParameterizedTest
  @CsvSource({"1,2,1", "3,14,7", "2,64,31", "5,80,16", "9,64,32", "1,128,64", "2,257,100"})
  void writesRotatedHeadsInSixteenBits(int heads, int headDim, int pairs) {
    int width = heads * headDim;
    float[] x = normal(5 * width);
    PackedSequences tokens = tokens(new int[] {1, 2, 3}, new int[] {4, 5});
    for (RotaryPairs layout : RotaryPairs.values()) {
      rounds(
          "rope of " + layout,
          5,
          width,
          (run, out) ->
              run.on.rope(
                  run.tensor(x, 5, width), layout, headDim, 1, run.batch(tokens, pairs), out));
    }
    for (DType dtype : DType.values()) {
      HostTensor weight = weight(dtype, 1, headDim);
      rounds(
          "normRope " + dtype,
          5,
          width,
          (run, out) ->
              run.on.normRope(
                  run.tensor(x, 5, width),
                  run.on.weight(weight),
                  NORMS.getLast(),
                  headDim,
                  0,
                  run.batch(tokens, pairs),
                  out));
    }
  }

  /** A product into 16 bits may add in another order than one into f32. */
  @ParameterizedTest
  @CsvSource({"1,7,31", "3,64,9", "5,33,16", "17,640,48", "60,40,130", "130,72,40"})
  void writesProductsAndRowsInSixteenBits(int rows, int in, int width) {
    float[] x = normal(rows * in);
    int[] order = random.ints(rows, 0, rows).toArray();
    rounds("gather", rows, in, (run, out) -> run.on.gather(run.tensor(x, rows, in), order, out));
    for (DType dtype : DType.values()) {
      HostTensor weight = weight(dtype, width, in, 64);
      HostTensor bias = weight(dtype == DType.F16 ? DType.F32 : dtype, 1, width);
      for (HostTensor shift : Arrays.asList(null, bias)) {
        rounds(
            "linear " + dtype + (shift == null ? "" : " with bias"),
            Tolerance.BF16_PRODUCT,
            rows,
            width,
            (run, out) ->
                run.on.linear(
                    run.tensor(x, rows, in),
                    run.on.weight(weight),
                    shift == null ? null : run.on.weight(shift),
                    out));
        rounds(
            "linear of a mix of " + dtype + (shift == null ? "" : " with bias"),
            Tolerance.BF16_PRODUCT,
            rows,
            width,
            (run, out) -> {
              Tensor scratch = run.arena.allocate(backend.mixedDType(dtype), width, in);
              Tensor source = run.on.weight(weight);
              TensorMix mix = new TensorMix(scratch, new double[] {0.5}, List.of(source));
              run.on.linear(
                  run.tensor(x, rows, in),
                  run.on.mixed(List.of(mix), rows).getFirst(),
                  shift == null ? null : run.on.weight(shift),
                  out);
            });
      }
    }
  }

  @ParameterizedTest
  @CsvSource({"1,7,31", "5,33,17", "17,64,48", "60,40,130"})
  void multipliesWhatIsRoundedAlready(int rows, int in, int out) {
    float[] x = normal(rows * in);
    for (DType dtype : DType.values()) {
      HostTensor weight = weight(dtype, out, in, 64);
      HostTensor bias = weight(dtype, 1, out);
      double[][] values =
          of(
              backend,
              run -> {
                Tensor matrix = run.on.weight(weight);
                Tensor wide = run.tensor(x, rows, in);
                Tensor input = run.rounded(wide, run.on.inputType(matrix, rows));
                Tensor expected = run.result(rows, out);
                run.on.linear(wide, matrix, run.on.weight(bias), expected);
                Tensor actual = run.result(rows, out);
                run.on.linear(input, matrix, run.on.weight(bias), actual);
                return new double[][] {widen(run.download(expected)), widen(run.download(actual))};
              });
      close("linear " + dtype, Tolerance.EXACT, 1, values[0], values[1]);
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
    "6,4099,130",
    "300,24,40",
    "1030,9,17"
  })
  void multipliesByTheTransposedWeight(int rows, int in, int out) {
    for (DType dtype : DType.values()) {
      HostTensor weight = weight(dtype, out, in);
      HostTensor bias = weight(dtype, 1, out);
      float[] x = normal(rows * in);
      for (HostTensor shift : Arrays.asList(null, bias)) {
        // A bias may cancel most of a product, but not the rounding error of the product.
        double terms = shift == null ? NEGLIGIBLE : 1;
        same(
            "linear " + dtype + (shift == null ? "" : " with bias"),
            tested.product(dtype),
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
            tested.product(dtype),
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
          tested.product(dtype),
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
  void rotatesPairsOfEachHead(int heads, int headDim, int pairs) {
    float[] x = normal(5 * heads * headDim);
    PackedSequences tokens = tokens(new int[] {1, 2, 3}, new int[] {4, 5});
    for (RotaryPairs layout : RotaryPairs.values()) {
      same(
          "rope of " + layout,
          Tolerance.ELEMENTWISE,
          run -> {
            Tensor rows = run.tensor(x, 5, heads * headDim);
            run.on.rope(rows, layout, headDim, pairs % TABLES, run.batch(tokens, pairs), rows);
            return rows;
          });
      same(
          "rope of " + layout + " to other memory",
          Tolerance.ELEMENTWISE,
          run -> {
            Tensor rows = run.tensor(x, 5, heads * headDim);
            Tensor out = run.result(5, heads * headDim);
            run.on.rope(rows, layout, headDim, pairs % TABLES, run.batch(tokens, pairs), out);
            run.on.add(out, rows);
            return out;
          });
    }
  }

  @ParameterizedTest
  @CsvSource({"1,2,1", "3,14,7", "2,64,32", "9,64,32", "5,80,33", "40,128,64", "2,257,100"})
  void normalisesHeadsAndRotatesThem(int heads, int headDim, int pairs) {
    PackedSequences tokens = tokens(new int[] {1, 2, 3}, new int[] {4, 5});
    for (DType dtype : DType.values()) {
      HostTensor weight = weight(dtype, 1, headDim);
      float[] x = normal(5 * heads * headDim);
      for (NormSpec spec : NORMS) {
        for (boolean inPlace : new boolean[] {true, false}) {
          same(
              "normRope " + dtype + " " + spec,
              Tolerance.ELEMENTWISE,
              run -> {
                Tensor rows = run.tensor(x, 5, heads * headDim);
                Tensor out = inPlace ? rows : run.result(5, heads * headDim);
                Tensor scale = run.on.weight(weight);
                run.on.normRope(
                    rows, scale, spec, headDim, heads % TABLES, run.batch(tokens, pairs), out);
                if (!inPlace) {
                  run.on.add(out, rows);
                }
                return out;
              });
        }
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
          tested.product(dtype),
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
    int[] lengths = {1, 7, 33, 97};
    LogitSpec scores = new LogitSpec(1 / Math.sqrt(width), 0);
    attention(heads, keyHeads, width, window, scores, lengths, new int[4], DType.F32, DType.BF16);
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 7, 8, 33, 64, 192, 576})
  void putsKeysAndValuesBehindEarlierOnesBitForBit(int width) {
    // The second sequence follows at once, and there are unused rows around the others.
    PackedSequences tokens =
        new PackedSequences(
            new int[6], new int[] {0, 1, 4, 6}, new int[] {5, 0, 3}, new int[] {2, 8, 11, 20});
    int[] rows = {7, 8, 9, 10, 14, 15};
    for (DType dtype : DType.values()) {
      List<HostTensor> added = List.of(bits(dtype, 6, width), bits(dtype, 6, width));
      List<HostTensor> all = List.of(bits(dtype, 22, width), bits(dtype, 22, width));
      try (Run run = new Run(backend)) {
        List<Tensor> made = new ArrayList<>();
        for (HostTensor before : all) {
          made.add(run.arena.allocate(dtype, 22, width));
          backend.copy(backend.weight(before), made.getLast());
        }
        backend.appendKeyValues(
            backend.weight(added.get(0)),
            backend.weight(added.get(1)),
            run.batch(tokens),
            made.get(0).slice(1, 21),
            made.get(1).slice(1, 21));
        for (int i = 0; i < 2; i++) {
          HostTensor found = weight(dtype, 22, width);
          backend.download(made.get(i), found);
          MemoryTensor expected = MemoryTensor.of(all.get(i));
          for (int t = 0; t < rows.length; t++) {
            expected
                .slice(1 + rows[t], 2 + rows[t])
                .data()
                .copyFrom(MemoryTensor.of(added.get(i)).slice(t, t + 1).data());
          }
          assertEquals(-1, expected.data().mismatch(found.data()), tested + ": " + dtype);
        }
        backend.release(added);
        backend.release(all);
      }
    }
  }

  /** Any bits, those of NaN among them. */
  private HostTensor bits(DType dtype, int rows, int columns) {
    HostTensor tensor = weight(dtype, rows, columns, 1);
    byte[] bytes = new byte[Math.toIntExact(tensor.data().byteSize())];
    random.nextBytes(bytes);
    tensor.data().copyFrom(MemorySegment.ofArray(bytes));
    return tensor;
  }

  @Test
  void refusesKeysAndValuesThatDoNotFit() {
    try (Run run = new Run(backend)) {
      TokenBatch batch =
          run.batch(
              new PackedSequences(
                  new int[3], new int[] {0, 1, 3}, new int[] {2, 0}, new int[] {1, 4, 7}));
      Tensor added = run.result(3, 4);
      Tensor all = run.result(7, 4);
      Tensor fewer = run.result(2, 4);
      Tensor shorter = run.result(6, 4);
      Tensor longer = run.result(8, 4);
      Tensor wider = run.result(3, 5);
      Tensor halves = run.arena.allocate(DType.F16, 3, 4);
      Tensor allHalves = run.arena.allocate(DType.F16, 7, 4);
      Tensor allOthers = run.arena.allocate(DType.BF16, 7, 4);
      backend.appendKeyValues(added, added, batch, all, run.result(7, 4));
      refuses(() -> backend.appendKeyValues(fewer, added, batch, all, all));
      refuses(() -> backend.appendKeyValues(added, fewer, batch, all, all));
      refuses(() -> backend.appendKeyValues(wider, added, batch, all, all));
      refuses(() -> backend.appendKeyValues(added, wider, batch, all, all));
      refuses(() -> backend.appendKeyValues(added, added, batch, shorter, all));
      refuses(() -> backend.appendKeyValues(added, added, batch, all, shorter));
      refuses(() -> backend.appendKeyValues(added, added, batch, longer, longer));
      refuses(() -> backend.appendKeyValues(added, added, batch, allHalves, allHalves));
      refuses(() -> backend.appendKeyValues(added, halves, batch, all, all));
      refuses(() -> backend.appendKeyValues(halves, halves, batch, allHalves, all));
      refuses(() -> backend.appendKeyValues(halves, halves, batch, allOthers, allOthers));
    }
  }

  /** Keys and values that are rounded before give the bits that those of f32 give. */
  @ParameterizedTest
  @CsvSource({
    "2,1,16,0",
    "6,2,24,10",
    "9,3,64,0",
    "4,4,80,40",
    "8,2,128,0",
    "2,1,144,9",
    "2,2,256,0",
    "2,1,272,0"
  })
  void attendsToKeysAndValuesThatAreRoundedAlready(int heads, int keyHeads, int width, int window) {
    PackedSequences tokens =
        new PackedSequences(new int[110], new int[] {0, 70, 71, 110}, new int[] {3, 90, 0});
    int keys = tokens.keyOffsets()[3];
    float[] query = normal(110 * heads * width);
    float[] key = normal(keys * keyHeads * width);
    float[] value = normal(keys * keyHeads * width);
    value[40 * keyHeads * width + 5] = Float.NaN;
    value[75 * keyHeads * width + 7] = Float.NEGATIVE_INFINITY;
    value[80 * keyHeads * width] = 65519;
    value[81 * keyHeads * width + 1] = 65520;
    value[82 * keyHeads * width + 2] = -Float.MAX_VALUE;
    for (DType products : DType.values()) {
      AttentionSpec spec =
          new AttentionSpec(heads, keyHeads, width, window, new LogitSpec(0.1, 0), products);
      DType type = backend.keyValueType(products, width);
      double[][] values =
          of(
              backend,
              run -> {
                TokenBatch batch = run.batch(tokens);
                Tensor queries = run.tensor(query, 110, heads * width);
                Tensor wideKeys = run.tensor(key, keys, keyHeads * width);
                Tensor wideValues = run.tensor(value, keys, keyHeads * width);
                Tensor roundKeys = run.rounded(wideKeys, type);
                Tensor roundValues = run.rounded(wideValues, type);
                Tensor expected = run.result(110, heads * width);
                run.on.attention(queries, wideKeys, wideValues, null, spec, batch, expected);
                Tensor found = run.result(110, heads * width);
                run.on.attention(queries, roundKeys, roundValues, null, spec, batch, found);
                return new double[][] {widen(run.download(expected)), widen(run.download(found))};
              });
      close("attention in " + products, Tolerance.EXACT, 1, values[0], values[1]);
    }
  }

  @ParameterizedTest
  @CsvSource({"1,1,64,0", "9,3,64,0", "4,2,33,50", "8,2,128,16"})
  void attendsToKeysFromBeforeTheBatch(int heads, int keyHeads, int width, int window) {
    attention(
        heads,
        keyHeads,
        width,
        window,
        new LogitSpec(1 / Math.sqrt(width), 0),
        new int[] {1, 1, 5, 40},
        new int[] {0, 200, 63, 64},
        DType.values());
  }

  @Test
  void attendsToKeysWithGapsBetweenTheSequences() {
    LogitSpec scores = new LogitSpec(0.125, 0);
    int[] offsets = {0, 1, 6};
    PackedSequences gaps =
        new PackedSequences(new int[6], offsets, new int[] {40, 3}, new int[] {50, 100, 150});
    for (DType products : DType.values()) {
      attention(new AttentionSpec(4, 2, 32, 0, scores, products), gaps);
    }
  }

  @Test
  void attendsOverManyBlocksOfKeys() {
    LogitSpec scores = new LogitSpec(0.125, 0);
    attention(2, 1, 64, 0, scores, new int[] {300}, new int[1], DType.F32, DType.BF16);
    attention(2, 1, 64, 100, scores, new int[] {300}, new int[1], DType.F32, DType.F16);
  }

  @ParameterizedTest
  @CsvSource({"4,2,32,0,2", "2,1,33,20,0.5", "2,2,16,0,50"})
  void capsTheScoresOfAttention(int heads, int keyHeads, int width, int window, double cap) {
    attention(
        heads,
        keyHeads,
        width,
        window,
        new LogitSpec(0.4, cap),
        new int[] {1, 40, 97},
        new int[] {0, 5, 0},
        DType.values());
  }

  @ParameterizedTest
  @CsvSource({"8,4,16,0", "6,2,20,0", "6,6,8,40", "3,1,64,0", "40,40,4,0"})
  void scoresFallWithDistance(int heads, int keyHeads, int width, int window) {
    LogitSpec scores = new LogitSpec(0.1, 0);
    for (DType products : DType.values()) {
      attention(
          new AttentionSpec(heads, keyHeads, width, window, scores, true, products),
          new int[] {70, 1, 33},
          new int[] {0, 0, 90});
    }
  }

  @ParameterizedTest
  @CsvSource({"8,4,16,0,F32", "6,2,20,7,BF16", "4,4,64,40,F16", "3,1,80,0,BF16", "2,1,160,9,F32"})
  void sinksTakeAShareOfTheWeights(int heads, int keyHeads, int width, int window, DType dtype) {
    float[] query = normal(60 * heads * width);
    float[] key = normal(110 * keyHeads * width);
    float[] value = normal(110 * keyHeads * width);
    PackedSequences tokens =
        new PackedSequences(new int[60], new int[] {0, 40, 41, 60}, new int[] {0, 50, 0});
    HostTensor sinks = weight(dtype, 1, heads, 3);
    for (DType products : DType.values()) {
      AttentionSpec spec =
          new AttentionSpec(heads, keyHeads, width, window, new LogitSpec(0.1, 0), products);
      same(
          "attention with sinks in " + products,
          tested.attention(products),
          run -> {
            Tensor out = run.result(60, heads * width);
            run.on.attention(
                run.tensor(query, 60, heads * width),
                run.tensor(key, 110, keyHeads * width),
                run.tensor(value, 110, keyHeads * width),
                run.on.weight(sinks),
                spec,
                run.batch(tokens),
                out);
            return out;
          });
    }
  }

  /** A sink has the weight of a key with the same score, whose value is 0. */
  @Test
  void aSinkIsAKeyWithoutValue() {
    int width = 16;
    float[] key = normal(5 * width);
    float[] value = normal(5 * width);
    Arrays.fill(value, 0, width, 0);
    float[] query = normal(width);
    double score = 0;
    for (int c = 0; c < width; c++) {
      score += (double) query[c] * key[c];
    }
    float[] sink = {(float) score};
    AttentionSpec spec = new AttentionSpec(1, 1, width, 0, LogitSpec.PLAIN, DType.F32);
    try (Run run = new Run(backend)) {
      Tensor asKey = run.result(1, width);
      backend.attention(
          run.tensor(query, 1, width),
          run.tensor(key, 5, width),
          run.tensor(value, 5, width),
          null,
          spec,
          run.batch(new PackedSequences(new int[1], new int[] {0, 1}, new int[] {4})),
          asKey);
      Tensor out = run.result(1, width);
      backend.attention(
          run.tensor(query, 1, width),
          run.tensor(Arrays.copyOfRange(key, width, 5 * width), 4, width),
          run.tensor(Arrays.copyOfRange(value, width, 5 * width), 4, width),
          run.tensor(sink, 1, 1),
          spec,
          run.batch(new PackedSequences(new int[1], new int[] {0, 1}, new int[] {3})),
          out);
      assertArrayEquals(run.download(asKey), run.download(out), 1e-5f);
    }
  }

  /** The slopes that the authors' code gives. */
  @Test
  void slopesAreThoseOfTheirAuthors() {
    assertArrayEquals(new float[] {0.25f, 0.0625f, 0.015625f, 0.00390625f}, slopes(4));
    assertArrayEquals(
        new float[] {0.25f, 0.0625f, 0.015625f, 0.00390625f, 0.5f, 0.125f}, slopes(6));
    assertEquals((float) Math.pow(2, -0.25), slopes(40)[0]);
    assertEquals((float) Math.pow(2, -8), slopes(40)[31]);
    assertEquals((float) Math.pow(2, -0.125), slopes(40)[32]);
    assertEquals((float) Math.pow(2, -1.875), slopes(40)[39]);
  }

  private static float[] slopes(int heads) {
    return new AttentionSpec(heads, heads, 1, 0, LogitSpec.PLAIN, DType.F32).slopes();
  }

  @Test
  void attentionOfLargeScoresStaysFinite() {
    PackedSequences tokens = tokens(new int[90]);
    float[] query = normal(90 * 32);
    float[] key = normal(90 * 32);
    for (int i = 0; i < query.length; i++) {
      // Queries and keys are exact in 16 bits: scores are some hundreds, and a small relative error
      // of
      // them would be large.
      query[i] = 100 * Math.round(4 * query[i]);
      key[i] = Math.round(4 * key[i]) / 4f;
    }
    float[] value = normal(90 * 32);
    // Scores are some hundreds: in f32 an exponent has an absolute error of 1e-4.
    for (DType products : DType.values()) {
      AttentionSpec spec = new AttentionSpec(1, 1, 32, 0, LogitSpec.PLAIN, products);
      same(
          "attention in " + products,
          Tolerance.BF16_PRODUCT,
          run -> {
            Tensor out = run.result(90, 32);
            run.on.attention(
                run.tensor(query, 90, 32),
                run.tensor(key, 90, 32),
                run.tensor(value, 90, 32),
                null,
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
      AttentionSpec spec = new AttentionSpec(4, 2, width, window, new LogitSpec(0.3, 0), products);
      same(
          "attention in " + products,
          tested.attention(products),
          run -> {
            Tensor out = run.result(130, 4 * width);
            run.on.attention(
                run.tensor(query, 130, 4 * width),
                run.tensor(key, 130, 2 * width),
                run.tensor(value, 130, 2 * width),
                null,
                spec,
                run.batch(tokens),
                out);
            return out;
          });
    }
  }

  private void attention(
      int heads,
      int keyHeads,
      int width,
      int window,
      LogitSpec scores,
      int[] lengths,
      int[] past,
      DType... types) {
    for (DType products : types) {
      attention(new AttentionSpec(heads, keyHeads, width, window, scores, products), lengths, past);
    }
  }

  private void attention(AttentionSpec spec, int[] lengths, int[] past) {
    int[] offsets = new int[lengths.length + 1];
    for (int s = 0; s < lengths.length; s++) {
      offsets[s + 1] = offsets[s] + lengths[s];
    }
    attention(spec, new PackedSequences(new int[offsets[lengths.length]], offsets, past));
  }

  private void attention(AttentionSpec spec, PackedSequences tokens) {
    int rows = tokens.size();
    int keys = tokens.keyOffsets()[tokens.sequences()];
    int queryWidth = spec.numHeads() * spec.headDim();
    int keyWidth = spec.numKeyValueHeads() * spec.headDim();
    float[] query = normal(rows * queryWidth);
    float[] key = normal(keys * keyWidth);
    float[] value = normal(keys * keyWidth);
    same(
        "attention in " + spec.products(),
        tested.attention(spec.products()),
        run -> {
          Tensor out = run.result(rows, queryWidth);
          run.on.attention(
              run.tensor(query, rows, queryWidth),
              run.tensor(key, keys, keyWidth),
              run.tensor(value, keys, keyWidth),
              null,
              spec,
              run.batch(tokens),
              out);
          return out;
        });
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
      same(
          activation + " of " + n + " alone",
          Tolerance.ELEMENTWISE,
          run -> {
            Tensor out = run.result(3, n);
            run.on.gatedActivation(activation, run.tensor(gate, 3, n), null, out);
            return out;
          });
    }
  }

  @Test
  void clampsGatesAndUps() {
    for (int n : new int[] {1, 3, 8, 17, 33, 130}) {
      float[] channels = normal(6 * n);
      for (int i = 0; i < channels.length; i++) {
        channels[i] *= 6;
      }
      same(
          "clampedGate of " + n,
          Tolerance.ELEMENTWISE,
          run -> {
            Tensor out = run.result(3, n);
            run.on.clampedGate(run.tensor(channels, 3, 2 * n), GATE, out);
            return out;
          });
    }
  }

  @Test
  void aClampedGateHoldsAtTheEndsOfTheRange() {
    for (float gate : ENDS) {
      for (float up : new float[] {0.5f, -8, Float.POSITIVE_INFINITY, Float.NaN}) {
        float[] one = {gate, up};
        same(
            "clampedGate of " + gate + " and " + up,
            Tolerance.ACCUMULATED,
            run -> {
              Tensor out = run.result(1, 1);
              run.on.clampedGate(run.tensor(one, 1, 2), GATE, out);
              return out;
            });
      }
    }
  }

  @ParameterizedTest
  @CsvSource({
    "1,1,1,F32",
    "3,5,7,BF16",
    "40,33,17,F16",
    "2,64,128,F32",
    "130,96,64,BF16",
    "9,257,65,BF16"
  })
  void multipliesByAMatrixThatIsStoredTheOtherWayRound(int rows, int in, int out, DType dtype) {
    float[] x = normal(rows * in);
    HostTensor weight = weight(dtype, in, out, 2);
    HostTensor bias = weight(DType.F32, 1, out);
    for (boolean biased : new boolean[] {false, true}) {
      same(
          "linearTransposed",
          tested.product(dtype),
          biased ? 1 : NEGLIGIBLE,
          run -> {
            Tensor to = run.result(rows, out);
            run.on.linearTransposed(
                run.tensor(x, rows, in),
                run.on.weight(weight),
                biased ? run.on.weight(bias) : null,
                to);
            return to;
          });
    }
  }

  @ParameterizedTest
  @EnumSource(Activation.class)
  void activationsHoldAtTheEndsOfTheRange(Activation activation) {
    for (float gate : ENDS) {
      // One gate at a time, so that a large result does not hide the error of a small one.
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
    // A value slightly above the middle between two neighbours of the 16-bit type: f32 would round
    // it
    // to the middle, and a second rounding could go down.
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

  @Test
  void refusesArgumentsThatDoNotFit() {
    try (Run run = new Run(backend)) {
      Tensor x = run.tensor(new float[12], 3, 4);
      Tensor other = run.tensor(new float[15], 3, 5);
      Tensor half = run.arena.allocate(DType.F16, 3, 4);
      Tensor weight = run.on.weight(weight(DType.F32, 5, 4));
      Tensor norm = run.on.weight(weight(DType.F32, 1, 4));
      Tensor normOfRows = run.on.weight(weight(DType.F32, 3, 4));
      TokenBatch two = run.batch(tokens(new int[] {1, 2}));
      TokenBatch three = run.batch(tokens(new int[] {1, 2, 9}));
      AttentionSpec spec = new AttentionSpec(2, 2, 2, 0, LogitSpec.PLAIN, DType.F32);
      refuses(() -> backend.embed(weight, three, 1, x));
      refuses(() -> backend.embed(weight, two, 1, x));
      refuses(() -> backend.rmsNorm(x, norm, NORMS.getFirst(), other));
      refuses(() -> backend.rmsNorm(other, norm, NORMS.getFirst(), other));
      refuses(() -> backend.rmsNorm(half, norm, NORMS.getFirst(), x));
      Tensor rounded = run.rounded(norm, DType.BF16);
      refuses(() -> backend.layerNorm(x, norm, rounded, NORMS.getFirst(), half));
      refuses(() -> backend.linear(half, run.result(5, 4), null, run.result(3, 5)));
      Tensor matrix = run.rounded(run.result(5, 4), DType.BF16);
      refuses(() -> backend.linear(half, matrix, null, run.result(3, 5)));
      refuses(() -> backend.layerNorm(x, norm, null, NORMS.getFirst(), other));
      refuses(() -> backend.layerNorm(x, weight, null, NORMS.getFirst(), x));
      refuses(() -> backend.layerNorm(x, norm, weight, NORMS.getFirst(), x));
      refuses(() -> backend.addLayerNorm(x, x, normOfRows, null, NORMS.getFirst(), x));
      refuses(() -> backend.linear(x, weight, null, x));
      refuses(() -> backend.linear(other, weight, null, other));
      refuses(() -> backend.linear(x, weight, norm, other));
      refuses(() -> backend.rope(x, RotaryPairs.HALVES, 3, 0, three, x));
      refuses(() -> backend.rope(x, RotaryPairs.HALVES, 4, 0, two, x));
      refuses(() -> backend.rope(x, RotaryPairs.NEIGHBOURS, 4, TABLES, three, x));
      refuses(() -> backend.rope(x, RotaryPairs.HALVES, 4, -1, three, x));
      refuses(() -> backend.rope(x, RotaryPairs.HALVES, 4, 0, three, other));
      refuses(() -> backend.rope(half, RotaryPairs.HALVES, 4, 0, three, half));
      refuses(() -> backend.attention(x, half, half, null, spec, three, x));
      refuses(() -> backend.attention(x, x, x, null, spec, two, x));
      refuses(() -> backend.attention(x, other, x, null, spec, three, x));
      refuses(() -> backend.attention(x, x, x, norm, spec, three, x));
      refuses(() -> backend.linearTransposed(other, weight, null, other));
      refuses(() -> backend.linearTransposed(other, weight, weight, x));
      refuses(() -> backend.clampedGate(x, GATE, x));
      refuses(() -> backend.gatedActivation(Activation.SILU, x, other, x));
      refuses(() -> backend.add(x, other));
      refuses(() -> backend.add(half, half));
    }
  }
}
