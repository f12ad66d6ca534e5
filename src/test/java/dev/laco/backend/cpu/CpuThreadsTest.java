package dev.laco.backend.cpu;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;

import dev.laco.Compute;
import dev.laco.ProgramRun;
import dev.laco.backend.AttentionSpec;
import dev.laco.backend.Backend;
import dev.laco.backend.DeltaSpec;
import dev.laco.backend.MemoryArena;
import dev.laco.backend.MemoryTensor;
import dev.laco.backend.TensorMix;
import dev.laco.backend.TokenBatch;
import dev.laco.backend.TrainingOps;
import dev.laco.backend.reference.ReferenceBackend;
import dev.laco.model.Activation;
import dev.laco.model.DType;
import dev.laco.model.LogitSpec;
import dev.laco.model.NormSpec;
import dev.laco.model.PackedSequences;
import dev.laco.model.RotaryPairs;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Work that is large enough to be shared out comes to the same, however many threads share it. */
class CpuThreadsTest {
  /** Tokens and width: more elements than the cheapest op takes before it wakes a second thread. */
  private static final int TOKENS = 301;

  private static final int WIDTH = 1024;
  private static final int HEAD_DIM = 64;

  private final Random random = new Random(7);
  private final MemoryArena arena = new MemoryArena();

  @AfterEach
  void close() {
    arena.close();
  }

  /** OpenMP keeps the number for each thread, which is the host's when the backend is closed. */
  @Test
  void aClosedBackendLeavesOpenMpAsItWas() {
    CpuKernels kernels = new CpuKernels(CpuLibraries.get().kernels(), CpuTier.PORTABLE);
    int before = kernels.threads();
    int other = before + 1;
    try (CpuBackend backend = CpuBackend.open(Compute.F32, other)) {
      backend.kernels();
      assertEquals(other, kernels.threads());
    }
    assertEquals(before, kernels.threads());
  }

  /** The first backend of a process times tiers and products, on one thread. */
  @Test
  void theFirstBackendOfAProcessLeavesOpenMpAsItWas() throws Exception {
    assertEquals(
        "5", ProgramRun.of(ProgramRun.java(First.class).start()).succeeded().out().strip());
  }

  /** Opens the first backend of the process where OpenMP has five threads. */
  static final class First {
    private First() {}

    public static void main(String[] arguments) {
      CpuKernels kernels = new CpuKernels(CpuLibraries.get().kernels(), CpuTier.PORTABLE);
      kernels.setThreads(5);
      CpuBackend.open(Compute.AUTO, 2).close();
      System.out.println(kernels.threads());
    }
  }

  @ParameterizedTest
  @ValueSource(ints = {2, 3})
  void ourKernelsGiveTheSameBits(int threads) {
    MemoryTensor x = random(DType.F32, TOKENS, WIDTH);
    MemoryTensor y = random(DType.F32, TOKENS, WIDTH);
    MemoryTensor weight = random(DType.BF16, 1, WIDTH);
    MemoryTensor table = random(DType.F16, 50, WIDTH);
    MemoryTensor few = random(DType.F32, 4, 8);
    MemoryTensor wide = random(DType.BF16, 70_000, 8);
    MemoryTensor bias = random(DType.F32, 1, 70_000);
    AttentionSpec spec =
        new AttentionSpec(
            WIDTH / HEAD_DIM, WIDTH / HEAD_DIM, HEAD_DIM, 0, new LogitSpec(0.1, 5), DType.F32);
    sameBits(threads, TOKENS, WIDTH, (on, batch, out) -> on.embed(table, batch, 1, out));
    sameBits(
        threads,
        TOKENS,
        WIDTH,
        (on, batch, out) -> on.rmsNorm(x, weight, new NormSpec(1e-5, 0), out));
    sameBits(
        threads,
        TOKENS,
        WIDTH,
        (on, batch, out) -> {
          on.copy(x, out);
          on.rope(out, RotaryPairs.HALVES, HEAD_DIM, 0, batch, out);
          on.add(out, y);
        });
    sameBits(
        threads, TOKENS, WIDTH, (on, batch, out) -> on.gatedActivation(Activation.SILU, x, y, out));
    sameBits(
        threads,
        TOKENS,
        WIDTH,
        (on, batch, out) -> {
          MemoryTensor gate = random(DType.F32, TOKENS, WIDTH);
          on.copy(x, gate);
          on.copy(y, out);
          on.gatedActivation(Activation.SILU, gate, out, out);
          on.multiply(gate, out, out);
        });
    sameBits(
        threads, TOKENS, WIDTH, (on, batch, out) -> on.attention(x, y, y, null, spec, batch, out));
    MemoryTensor columns = random(DType.F32, WIDTH, 4);
    sameBits(
        threads,
        TOKENS,
        WIDTH,
        (on, batch, out) -> on.causalConvolution(x, columns, batch, null, out));
    DeltaSpec delta = new DeltaSpec(4, 8, HEAD_DIM, HEAD_DIM);
    MemoryTensor rates = random(DType.F32, TOKENS, 8);
    MemoryTensor decays = random(DType.F32, 1, 8);
    sameBits(
        threads,
        TOKENS,
        WIDTH / 2,
        (on, batch, out) ->
            on.gatedDelta(x, rates, rates, decays, decays, delta, batch, null, out));
    sameBits(threads, 4, 70_000, (on, batch, out) -> on.linear(few, wide, bias, out));
    sameBits(
        threads,
        TOKENS,
        WIDTH,
        (on, batch, out) ->
            on.mix(List.of(new TensorMix(out, new double[] {0.3, 0.7}, List.of(x, y)))));
    sameBits(
        threads,
        1,
        3,
        (on, batch, out) -> {
          double[] cosines = on.cosine(x, y, batch);
          for (int s = 0; s < cosines.length; s++) {
            MemoryTensor.of(out).set(s, cosines[s]);
          }
        });
  }

  /** Gradients of weights, and of keys and values, are sums over rows that threads share. */
  @ParameterizedTest
  @ValueSource(ints = {2, 3})
  void ourKernelsOfTrainingGiveTheSameBits(int threads) {
    MemoryTensor x = random(DType.F32, TOKENS, WIDTH);
    MemoryTensor y = random(DType.F32, TOKENS, WIDTH);
    MemoryTensor gradient = random(DType.F32, TOKENS, WIDTH);
    MemoryTensor weight = random(DType.BF16, 1, WIDTH);
    AttentionSpec spec =
        new AttentionSpec(
            WIDTH / HEAD_DIM, WIDTH / HEAD_DIM, HEAD_DIM, 0, new LogitSpec(0.1, 5), DType.F32);
    sameBits(
        threads,
        TOKENS + 2,
        WIDTH,
        (on, batch, out) ->
            on.training()
                .layerNormGradient(
                    x,
                    weight,
                    new NormSpec(1e-5, 1),
                    gradient,
                    out.slice(TOKENS, TOKENS + 1),
                    out.slice(TOKENS + 1, TOKENS + 2),
                    out.slice(0, TOKENS)));
    sameBits(
        threads,
        3 * TOKENS,
        WIDTH,
        (on, batch, out) -> {
          MemoryTensor attended = random(DType.F32, TOKENS, WIDTH);
          MemoryTensor logSums = random(DType.F32, TOKENS, spec.numHeads());
          TrainingOps ops = on.training();
          ops.attention(x, y, y, null, spec, batch, attended, logSums);
          ops.attentionGradient(
              x,
              y,
              y,
              spec,
              batch,
              attended,
              logSums,
              gradient,
              out.slice(0, TOKENS),
              out.slice(TOKENS, 2 * TOKENS),
              out.slice(2 * TOKENS, 3 * TOKENS));
        });
    MemoryTensor columns = random(DType.F32, WIDTH, 4);
    sameBits(
        threads,
        TOKENS + 4,
        WIDTH,
        (on, batch, out) -> {
          MemoryTensor byColumns = out.slice(TOKENS, TOKENS + 4).reshape(WIDTH, 4);
          MemoryTensor byX = out.slice(0, TOKENS);
          on.training().causalConvolutionGradient(x, columns, batch, gradient, byColumns, byX);
        });
    DeltaSpec delta = new DeltaSpec(4, 8, HEAD_DIM, HEAD_DIM);
    MemoryTensor rates = random(DType.F32, TOKENS, 8);
    MemoryTensor decays = random(DType.F32, 1, 8);
    MemoryTensor byOut = random(DType.F32, TOKENS, WIDTH / 2);
    sameBits(
        threads,
        TOKENS,
        WIDTH + 3 * 8,
        (on, batch, out) -> {
          MemoryTensor attended = arena.allocate(DType.F32, TOKENS, WIDTH / 2);
          MemoryTensor errors = arena.allocate(DType.F32, TOKENS, WIDTH / 2);
          MemoryTensor all = out.reshape(TOKENS * (WIDTH / 8 + 3), 8);
          int rows = TOKENS * WIDTH / 8;
          TrainingOps ops = on.training();
          ops.gatedDelta(x, rates, rates, decays, decays, delta, batch, attended, errors);
          ops.gatedDeltaGradient(
              x,
              rates,
              rates,
              decays,
              decays,
              delta,
              batch,
              errors,
              byOut,
              all.slice(0, rows).reshape(TOKENS, WIDTH),
              all.slice(rows, rows + TOKENS),
              all.slice(rows + TOKENS, rows + 2 * TOKENS),
              all.slice(rows + 2 * TOKENS, rows + 3 * TOKENS));
        });
    sameBits(
        threads,
        5,
        WIDTH,
        (on, batch, out) -> {
          TrainingOps ops = on.training();
          ops.addColumns(x, out.slice(0, 1));
          ops.rowProducts(x, y, out.reshape(5 * WIDTH, 1).slice(WIDTH, WIDTH + TOKENS));
          MemoryTensor.of(out).set(5 * WIDTH - 1, ops.sumsOfSquares(List.of(x))[0]);
        });
    sameBits(
        threads,
        TOKENS,
        WIDTH,
        (on, batch, out) -> {
          MemoryTensor gate = copy(on, x);
          MemoryTensor up = copy(on, y);
          TrainingOps ops = on.training();
          ops.gatedGradients(Activation.SILU, gate, up, gradient);
          ops.adamW(
              List.of(
                  new TrainingOps.Update(
                      new TrainingOps.AdamW(1, 0.1, 0.9, 0.95, 1e-8, 0.1, 1, 0),
                      null,
                      gate,
                      up,
                      arena.allocate(DType.F32, TOKENS, WIDTH),
                      out,
                      arena.allocate(DType.BF16, TOKENS, WIDTH))));
        });
  }

  private MemoryTensor copy(Backend on, MemoryTensor tensor) {
    MemoryTensor copy = arena.allocate(DType.F32, tensor.rows(), tensor.columns());
    on.copy(tensor, copy);
    return copy;
  }

  /**
   * Weights are widened, or activations rounded, by several threads before the library multiplies.
   */
  @ParameterizedTest
  @EnumSource(DType.class)
  void productsAgreeWithTheReference(DType dtype) {
    MemoryTensor x = random(DType.F32, TOKENS, WIDTH);
    MemoryTensor weight = random(dtype, 300, WIDTH);
    MemoryTensor out = arena.allocate(DType.F32, TOKENS, 300);
    MemoryTensor expected = arena.allocate(DType.F32, TOKENS, 300);
    try (CpuBackend backend = CpuBackend.open(Compute.AUTO, 3);
        ReferenceBackend reference = new ReferenceBackend(Compute.AUTO)) {
      backend.linear(x, weight, null, out);
      reference.linear(x, weight, null, expected);
    }
    assertArrayEquals(values(expected), values(out), 1e-3f);
  }

  /** An op on a backend with a batch of three sequences. */
  private interface Op {
    void run(Backend on, TokenBatch batch, MemoryTensor out);
  }

  private void sameBits(int threads, int rows, int columns, Op op) {
    assertArrayEquals(run(1, rows, columns, op), run(threads, rows, columns, op));
  }

  private float[] run(int threads, int rows, int columns, Op op) {
    float[] angles = new float[TOKENS * HEAD_DIM / 2];
    for (int i = 0; i < angles.length; i++) {
      angles[i] = i % 11 / 11f;
    }
    int[] tokens = new int[TOKENS];
    for (int t = 0; t < TOKENS; t++) {
      tokens[t] = t % 50;
    }
    PackedSequences sequences =
        new PackedSequences(tokens, new int[] {0, 1, 120, TOKENS}, new int[3]);
    MemoryTensor out = arena.allocate(DType.F32, rows, columns);
    try (CpuBackend backend = CpuBackend.open(Compute.AUTO, threads);
        TokenBatch batch = backend.batch(sequences, 1, angles, angles)) {
      op.run(backend, batch, out);
    }
    return values(out);
  }

  /** Values that bf16 holds, so that rounding them to it changes nothing. */
  private MemoryTensor random(DType dtype, int rows, int columns) {
    MemoryTensor tensor = arena.allocate(dtype, rows, columns);
    for (long i = 0; i < tensor.elements(); i++) {
      tensor.set(i, (random.nextInt(255) - 127) / 128.0);
    }
    return tensor;
  }

  private static float[] values(MemoryTensor tensor) {
    float[] values = new float[(int) tensor.elements()];
    for (int i = 0; i < values.length; i++) {
      values[i] = tensor.get(i);
    }
    return values;
  }
}
