package dev.laco.backend;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.Compute;
import dev.laco.backend.reference.ReferenceBackend;
import dev.laco.model.DType;
import dev.laco.model.HostTensor;
import dev.laco.model.PackedSequences;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.SplittableRandom;
import java.util.function.Function;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;

/**
 * What the contracts of all ops have in common: each op is called on the backend under test and on
 * {@link ReferenceBackend} with the same inputs, and the results are compared. Results lie between
 * sentinel rows that must survive; weights lie at odd addresses; NaN and infinities must come out
 * where the reference has them.
 */
abstract class Contract {
  /** Gates at which an activation or its derivative may overflow or lose all digits. */
  static final float[] ENDS = {
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

  static final double EPS = 1e-5;

  /** Tables of rotary angles of every batch. */
  static final int TABLES = 2;

  private static final float SENTINEL = -12345.678f;

  /** Errors below this magnitude do not count, since f32 loses precision near 1e-38. */
  static final double NEGLIGIBLE = 1e-30;

  final TestedBackend tested;
  final SplittableRandom random = new SplittableRandom(20240217);
  final Backend reference = new ReferenceBackend(Compute.F32);
  Backend backend;
  private final Arena memory = Arena.ofShared();

  Contract(TestedBackend tested) {
    this.tested = tested;
  }

  @BeforeEach
  void openBackend() {
    backend = tested.open();
  }

  @AfterEach
  void closeBackend() {
    backend.close();
    memory.close();
  }

  static void refuses(Runnable call) {
    assertThrows(IllegalArgumentException.class, call::run);
  }

  /** Makes the same call on both backends and compares the tensors that it returns. */
  void same(String op, Tolerance tolerance, Function<Run, Tensor> call) {
    same(op, tolerance, NEGLIGIBLE, call);
  }

  /**
   * Makes the same call on both backends and compares the tensors, with a tolerance relative to the
   * result or to {@code terms}, whichever is larger: a sum may be smaller than its terms.
   */
  void same(String op, Tolerance tolerance, double terms, Function<Run, Tensor> call) {
    sameEach(op, tolerance, terms, run -> List.of(call.apply(run)));
  }

  /** Likewise with several tensors of one call, of which each has its own largest element. */
  void sameEach(String op, Tolerance tolerance, Function<Run, List<Tensor>> call) {
    sameEach(op, tolerance, NEGLIGIBLE, call);
  }

  private void sameEach(
      String op, Tolerance tolerance, double terms, Function<Run, List<Tensor>> call) {
    Function<Run, List<double[]>> values =
        run -> call.apply(run).stream().map(tensor -> widen(run.download(tensor))).toList();
    List<double[]> all = of(reference, values);
    List<double[]> actual = of(backend, values);
    for (int i = 0; i < all.size(); i++) {
      double[] expected = all.get(i);
      double largest =
          Arrays.stream(expected).filter(Double::isFinite).map(Math::abs).reduce(terms, Math::max);
      String name = all.size() == 1 ? op : op + ", result " + i;
      close(name, tolerance, largest, expected, actual.get(i));
    }
  }

  static <T> T of(Backend on, Function<Run, T> call) {
    try (Run run = new Run(on)) {
      T values = call.apply(run);
      run.checkSentinels();
      return values;
    }
  }

  void close(String op, Tolerance tolerance, double scale, double[] expected, double[] actual) {
    assertEquals(expected.length, actual.length, () -> tested + ": " + op);
    for (int i = 0; i < expected.length; i++) {
      int at = i;
      if (tolerance == Tolerance.EXACT || !Double.isFinite(expected[i])) {
        assertEquals(expected[i], actual[i], () -> tested + ": " + op + ": element " + at);
      } else {
        double error = Math.abs(actual[i] - expected[i]);
        assertTrue(
            error <= tolerance.limit() * scale,
            () ->
                String.format(
                    Locale.ROOT,
                    "%s: %s: element %d of %d is %s, must be %s; off by %.2g of the largest,"
                        + " allowed %s %.1g",
                    tested,
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

  static double[] widen(float[] values) {
    double[] wide = new double[values.length];
    for (int i = 0; i < values.length; i++) {
      wide[i] = values[i];
    }
    return wide;
  }

  static PackedSequences tokens(int[]... sequences) {
    return PackedSequences.of(List.of(sequences));
  }

  float[] normal(int n) {
    float[] values = new float[n];
    for (int i = 0; i < n; i++) {
      values[i] = (float) random.nextGaussian();
    }
    return values;
  }

  HostTensor weight(DType dtype, int rows, int columns) {
    return weight(dtype, rows, columns, 1);
  }

  /**
   * Random weights that begin {@code offset} bytes after an aligned address and end where their
   * memory ends.
   */
  HostTensor weight(DType dtype, int rows, int columns, int offset) {
    long bytes = MemoryTensor.byteSize(dtype, rows, columns);
    MemorySegment data = memory.allocate(bytes + offset, 64).asSlice(offset, bytes);
    MemoryTensor tensor = new MemoryTensor(dtype, rows, columns, data);
    for (long i = 0; i < tensor.elements(); i++) {
      tensor.set(i, random.nextGaussian());
    }
    return new HostTensor("test", dtype, List.of((long) rows, (long) columns), data);
  }

  /** Random arguments of the gated delta rule. */
  final class Delta {
    final DeltaSpec spec;
    final float[] heads;
    final float[] decay;
    final float[] rate;
    final float[] logDecay;
    final float[] decayBias;

    Delta(DeltaSpec spec, int tokens) {
      this.spec = spec;
      this.heads = normal(Math.toIntExact(tokens * spec.all()));
      this.decay = normal(tokens * spec.valueHeads());
      this.rate = normal(tokens * spec.valueHeads());
      this.logDecay = normal(spec.valueHeads());
      this.decayBias = normal(spec.valueHeads());
    }

    /** The rows of a batch whose first token is {@code first}. */
    private static Tensor rows(Run run, float[] values, int first, TokenBatch batch, long width) {
      int tokens = batch.sequences().size();
      int from = Math.toIntExact(first * width);
      int to = Math.toIntExact((first + tokens) * width);
      return run.tensor(Arrays.copyOfRange(values, from, to), tokens, width);
    }

    Tensor heads(Run run, int first, TokenBatch batch) {
      return rows(run, heads, first, batch, spec.all());
    }

    Tensor decay(Run run, int first, TokenBatch batch) {
      return rows(run, decay, first, batch, spec.valueHeads());
    }

    Tensor rate(Run run, int first, TokenBatch batch) {
      return rows(run, rate, first, batch, spec.valueHeads());
    }

    Tensor logDecay(Run run) {
      return run.tensor(logDecay, 1, spec.valueHeads());
    }

    Tensor decayBias(Run run) {
      return run.tensor(decayBias, 1, spec.valueHeads());
    }

    /** Runs the op on the tokens from {@code first} on. */
    void run(Run run, int first, TokenBatch batch, @Nullable SequenceStates states, Tensor out) {
      run.on.gatedDelta(
          heads(run, first, batch),
          decay(run, first, batch),
          rate(run, first, batch),
          logDecay(run),
          decayBias(run),
          spec,
          batch,
          states,
          out);
    }
  }

  /** The tensors and batches of one call on one backend. */
  static final class Run implements AutoCloseable {
    final Backend on;
    final TensorArena arena;
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

    /** An f32 tensor, rounded to another dtype. */
    Tensor rounded(Tensor tensor, DType dtype) {
      Tensor rounded = arena.allocate(dtype, tensor.rows(), tensor.columns());
      on.copy(tensor, rounded);
      return rounded;
    }

    /** The elements of a tensor of any dtype, widened to f32. */
    Tensor widened(Tensor tensor) {
      Tensor wide = result(tensor.rows(), tensor.columns());
      on.mix(List.of(new TensorMix(wide, new double[] {1}, List.of(tensor))));
      return wide;
    }

    TokenBatch batch(PackedSequences tokens) {
      return batch(tokens, 1);
    }

    TokenBatch batch(PackedSequences tokens, int pairs) {
      float[] cosine = new float[TABLES * tokens.size() * pairs];
      float[] sine = new float[cosine.length];
      for (int i = 0; i < cosine.length; i++) {
        cosine[i] = (float) Math.cos(0.7 * i);
        sine[i] = (float) Math.sin(0.7 * i);
      }
      TokenBatch batch = on.batch(tokens, TABLES, cosine, sine);
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
