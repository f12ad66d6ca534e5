package dev.laco.backend.cuda;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.Compute;
import dev.laco.CudaBinding;
import dev.laco.backend.AttentionSpec;
import dev.laco.backend.Backend;
import dev.laco.backend.DeltaSpec;
import dev.laco.backend.MemoryTensor;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.backend.TensorMix;
import dev.laco.backend.TokenBatch;
import dev.laco.backend.TrainingOps;
import dev.laco.backend.reference.ReferenceBackend;
import dev.laco.model.DType;
import dev.laco.model.HostTensor;
import dev.laco.model.LogitSpec;
import dev.laco.model.PackedSequences;
import dev.laco.model.RotaryPairs;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.function.Function;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;

/**
 * What the backend chooses by itself: kernels by card and dtype, fused products, transfers in
 * parts.
 */
@ExtendWith(FreshDevice.class)
class CudaOpsTest {
  /** Eight significant bits in every product and probability, averaged over sums. */
  private static final float HALVES = 2e-2f;

  private final Random random = new Random(5);
  private final Arena memory = Arena.ofShared();

  @AfterEach
  void close() {
    memory.close();
  }

  private static CudaBackend open(Compute compute) {
    return CudaBackend.open(compute, 0, CudaBinding.FFM);
  }

  /** H100, and a card whose f64 is slow: they take different kernels. */
  @ParameterizedTest
  @OnStandIn
  @CsvSource({"9,0", "8,6"})
  void mixesToTheSameBitsOnEveryCard(int major, int minor) {
    EmulatedDevice.computeCapability(major, minor);
    double[] coefficients = {-2, 1.0 / 3, 1.1, 0.4};
    for (DType dtype : DType.values()) {
      List<HostTensor> sources =
          IntStream.range(0, 4).mapToObj(j -> weight(dtype, 3, 5000)).toList();
      float[] expected = new float[3 * 5000];
      MemoryTensor rounded = new MemoryTensor(dtype, 1, 1, memory.allocate(dtype.byteSize(), 8));
      for (int i = 0; i < expected.length; i++) {
        double sum = -0.0;
        for (int j = 0; j < sources.size(); j++) {
          sum += coefficients[j] * MemoryTensor.of(sources.get(j)).get(i);
        }
        rounded.set(0, sum);
        expected[i] = rounded.get(0);
      }
      assertArrayEquals(
          expected,
          on(
              open(Compute.AUTO),
              run -> {
                Tensor out = run.arena.allocate(dtype, 3, 5000);
                run.on.mix(List.of(new TensorMix(out, coefficients, run.weights(sources))));
                return run.widened(out);
              }),
          dtype + " on " + major + "." + minor);
    }
  }

  @Test
  @OnStandIn
  void candidatesOfTheSameSourcesAreMixedInOneLaunch() {
    List<HostTensor> sources =
        List.of(weight(DType.BF16, 20, 60), weight(DType.BF16, 20, 60), weight(DType.BF16, 20, 60));
    double[][] candidates = {{1, 0.5, -0.5}, {0.25, 0.25, 0.5}, {-1, 1, 1}};
    try (CudaBackend backend = open(Compute.AUTO);
        Run run = new Run(backend)) {
      List<Tensor> layers = run.weights(sources);
      List<TensorMix> together =
          Arrays.stream(candidates)
              .map(c -> new TensorMix(run.arena.allocate(DType.BF16, 20, 60), c, layers))
              .toList();
      long launches = EmulatedDevice.launches();
      backend.mix(together);
      run.finish();
      assertEquals(launches + 1, EmulatedDevice.launches());
      for (TensorMix mix : together) {
        Tensor alone = run.arena.allocate(DType.BF16, 20, 60);
        backend.mix(List.of(new TensorMix(alone, mix.coefficients(), layers)));
        assertArrayEquals(run.values(run.widened(alone)), run.values(run.widened(mix.out())));
      }
    }
  }

  /** However many tokens there are. */
  @Test
  @OnStandIn
  void linearAttentionTakesAFewLaunches() {
    DeltaSpec spec = new DeltaSpec(1, 2, 6, 5);
    PackedSequences sequences = PackedSequences.of(List.of(new int[30], new int[3]));
    try (CudaBackend backend = open(Compute.AUTO);
        Run run = new Run(backend);
        TokenBatch batch = backend.batch(sequences, 1, new float[0], new float[0])) {
      TrainingOps ops = backend.training();
      Tensor heads = run.tensor(normal(33 * 22), 33, 22);
      Tensor scalars = run.tensor(normal(33 * 2), 33, 2);
      Tensor ofHeads = run.tensor(normal(2), 1, 2);
      Tensor weight = run.tensor(normal(22 * 4), 22, 4);
      Tensor out = run.tensor(normal(33 * 10), 33, 10);
      Tensor errors = run.tensor(normal(33 * 10), 33, 10);
      Tensor byHeads = run.tensor(normal(33 * 22), 33, 22);
      List<Tensor> byScalars =
          Stream.generate(() -> run.tensor(normal(33 * 2), 33, 2)).limit(3).toList();
      run.finish();
      assertLaunches(
          1,
          run,
          () ->
              ops.gatedDelta(heads, scalars, scalars, ofHeads, ofHeads, spec, batch, out, errors));
      assertLaunches(
          4,
          run,
          () ->
              ops.gatedDeltaGradient(
                  heads,
                  scalars,
                  scalars,
                  ofHeads,
                  ofHeads,
                  spec,
                  batch,
                  errors,
                  out,
                  byHeads,
                  byScalars.get(0),
                  byScalars.get(1),
                  byScalars.get(2)));
      assertLaunches(1, run, () -> backend.causalConvolution(heads, weight, batch, null, byHeads));
      Tensor byWeight = run.tensor(normal(22 * 4), 22, 4);
      assertLaunches(
          2,
          run,
          () -> ops.causalConvolutionGradient(heads, weight, batch, heads, byWeight, byHeads));
    }
  }

  private static void assertLaunches(long count, Run run, Runnable op) {
    long before = EmulatedDevice.launches();
    op.run();
    run.finish();
    assertEquals(before + count, EmulatedDevice.launches());
  }

  @Test
  void keysThatAreTooWideForTheDeltaRuleAreRefused() {
    DeltaSpec spec = new DeltaSpec(1, 1, 257, 1);
    try (CudaBackend backend = open(Compute.AUTO);
        Run run = new Run(backend);
        TokenBatch batch =
            backend.batch(PackedSequences.of(List.of(new int[1])), 1, new float[0], new float[0])) {
      Tensor heads = run.tensor(normal(515), 1, 515);
      Tensor scalar = run.tensor(normal(1), 1, 1);
      Tensor out = run.tensor(normal(1), 1, 1);
      IllegalArgumentException e =
          assertThrows(
              IllegalArgumentException.class,
              () ->
                  backend.gatedDelta(
                      heads, scalar, scalar, scalar, scalar, spec, batch, null, out));
      assertEquals(
          "keys of the delta rule are 257 wide; there are kernels for up to 256", e.getMessage());
    }
  }

  @ParameterizedTest
  @EnumSource(
      value = DType.class,
      names = {"F16", "BF16"})
  void aMixedMatrixIsMultipliedByWithoutBeingStored(DType dtype) {
    List<HostTensor> sources = List.of(weight(dtype, 48, 64), weight(dtype, 48, 64));
    float[] x = normal(30 * 64);
    for (int i = 0; i < x.length; i++) {
      x[i] *= 1000;
    }
    Function<Run, Tensor> product =
        run -> {
          Tensor scratch = run.arena.allocate(dtype, 48, 64);
          Tensor mixed =
              run.on
                  .mixed(
                      List.of(
                          new TensorMix(scratch, new double[] {0.75, 0.5}, run.weights(sources))),
                      30)
                  .getFirst();
          Tensor out = run.arena.allocate(DType.F32, 30, 48);
          run.on.linear(run.tensor(x, 30, 64), mixed, null, out);
          boolean fuses =
              System.getProperty("laco.cuda.fused-rows") == null
                  && ((CudaBackend) run.on).context().device().hasFastF64();
          assertEquals(fuses, mixed instanceof MixedMatrix);
          return out;
        };
    float[] fused = on(open(Compute.AUTO), product);
    System.setProperty("laco.cuda.fused-rows", "0");
    try {
      float[] stored = on(open(Compute.AUTO), product);
      // Other orders of sums: what is lost goes by the magnitude of what is summed.
      assertArrayEquals(
          stored, fused, (float) (1e-5 * largestError(stored, new float[stored.length])));
    } finally {
      System.clearProperty("laco.cuda.fused-rows");
    }
  }

  @Test
  @OnStandIn
  void manyRowsOrWeightsOf32BitsAreMixedFirst() {
    try (CudaBackend backend = open(Compute.AUTO);
        Run run = new Run(backend)) {
      assertEquals(Compute.AUTO, backend.compute());
      TensorMix halves = run.mix(weight(DType.BF16, 8, 8), DType.BF16);
      TensorMix floats = run.mix(weight(DType.F32, 8, 8), DType.F32);
      TensorMix row = run.mix(weight(DType.BF16, 1, 8), DType.BF16);
      assertInstanceOf(MixedMatrix.class, backend.mixed(List.of(halves), 128).getFirst());
      assertEquals(List.of(halves.out()), backend.mixed(List.of(halves), 129));
      assertEquals(List.of(floats.out()), backend.mixed(List.of(floats), 1));
      assertEquals(List.of(row.out()), backend.mixed(List.of(row), 1));
    }
    try (CudaBackend backend = open(Compute.F32);
        Run run = new Run(backend)) {
      TensorMix halves = run.mix(weight(DType.BF16, 8, 8), DType.F32);
      assertEquals(List.of(halves.out()), backend.mixed(List.of(halves), 1));
    }
  }

  /** Its f64 is slow, and a block of its kernels has too little shared memory. */
  @Test
  @OnStandIn
  void aCardWithoutFastF64NeverFuses() {
    EmulatedDevice.computeCapability(8, 9);
    try (CudaBackend backend = open(Compute.AUTO);
        Run run = new Run(backend)) {
      TensorMix halves = run.mix(weight(DType.BF16, 8, 8), DType.BF16);
      assertEquals(List.of(halves.out()), backend.mixed(List.of(halves), 1));
    }
  }

  /** Attention multiplies in the type of its spec where it has tensor cores for the width. */
  @ParameterizedTest
  @CsvSource({"16", "64", "80", "128", "256", "24"})
  void attentionMultipliesInTheTypeOfItsSpecWhateverTheProductBeforeIt(int width) {
    PackedSequences tokens = PackedSequences.of(List.of(new int[70], new int[1], new int[33]));
    float[] query = normal(104 * 4 * width);
    float[] key = normal(104 * 2 * width);
    float[] value = normal(104 * 2 * width);
    float[] x = normal(8);
    for (DType dtype : DType.values()) {
      AttentionSpec spec =
          new AttentionSpec(4, 2, width, 40, new LogitSpec(1 / Math.sqrt(width), 0), dtype);
      HostTensor other = weight(dtype == DType.F32 ? DType.BF16 : DType.F32, 2, 8);
      Function<Run, Tensor> attention =
          run -> {
            Tensor projected = run.arena.allocate(DType.F32, 1, 2);
            run.on.linear(run.tensor(x, 1, 8), run.on.weight(other), null, projected);
            Tensor out = run.arena.allocate(DType.F32, 104, 4 * width);
            run.on.attention(
                run.tensor(query, 104, 4 * width),
                run.tensor(key, 104, 2 * width),
                run.tensor(value, 104, 2 * width),
                null,
                spec,
                run.batch(tokens),
                out);
            return out;
          };
      float[] expected = on(new ReferenceBackend(Compute.F32), attention);
      float[] found = on(open(Compute.AUTO), attention);
      boolean exact = dtype == DType.F32 || width % 16 != 0;
      assertArrayEquals(expected, found, exact ? 1e-5f : HALVES, dtype + " of " + width);
      // Were the other kernel taken, the results would be closer than 16 bits allow.
      assertEquals(exact, largestError(expected, found) < 1e-5, dtype + " of " + width);
    }
  }

  private static double largestError(float[] expected, float[] found) {
    return IntStream.range(0, expected.length)
        .mapToDouble(i -> Math.abs(expected[i] - found[i]))
        .max()
        .orElse(0);
  }

  @ParameterizedTest
  @EnumSource(DType.class)
  void weightsLargerThanAStagingBufferGoUpInParts(DType dtype) {
    int columns = 3000;
    int rows = 20_000_000 / dtype.byteSize() / columns;
    HostTensor weight = weight(dtype, rows, columns);
    float[] found =
        on(open(Compute.F32), run -> run.widened(run.on.weight(weight).slice(rows - 2, rows)));
    float[] expected = new float[2 * columns];
    for (int i = 0; i < expected.length; i++) {
      expected[i] = MemoryTensor.of(weight).get((rows - 2L) * columns + i);
    }
    assertArrayEquals(expected, found);
  }

  @Test
  void largeTensorsComeDownInParts() {
    float[] x = normal(700_001);
    assertArrayEquals(x, on(open(Compute.F32), run -> run.tensor(x, 1, x.length)));
  }

  @Test
  @OnStandIn
  void aWeightIsUploadedOnceAndAnotherAtItsAddressIsNotTakenForIt() {
    try (CudaBackend backend = open(Compute.F32);
        Run run = new Run(backend)) {
      MemorySegment data = memory.allocate(64, 64);
      try (Arena first = Arena.ofConfined()) {
        Tensor one = backend.weight(host(data.reinterpret(first, null), 1));
        long allocations = EmulatedDevice.allocations();
        assertEquals(one, backend.weight(host(data.reinterpret(first, null), 1)));
        assertEquals(allocations, EmulatedDevice.allocations());
      }
      try (Arena second = Arena.ofConfined()) {
        Tensor two = backend.weight(host(data.reinterpret(second, null), 2));
        assertEquals(2, run.values(two)[0]);
      }
    }
  }

  private static HostTensor host(MemorySegment data, float value) {
    MemoryTensor tensor = new MemoryTensor(DType.F32, 1, 16, data);
    tensor.set(0, value);
    return new HostTensor("test", DType.F32, List.of(16L), data);
  }

  @Test
  void anyNumberOfTablesFitsTheRing() {
    HostTensor source = weight(DType.BF16, 2, 16);
    try (CudaBackend backend = open(Compute.AUTO);
        Run run = new Run(backend)) {
      TensorMix one = run.mix(source, DType.BF16);
      // Each takes some hundred bytes of a megabyte.
      for (int i = 0; i < 6000; i++) {
        backend.mix(List.of(one));
      }
      List<Tensor> many = java.util.Collections.nCopies(60_000, one.sources().getFirst());
      double[] share = new double[many.size()];
      Arrays.fill(share, 1.0 / share.length);
      Tensor mean = run.arena.allocate(DType.F32, 2, 16);
      backend.mix(List.of(new TensorMix(mean, share, many)));
      assertArrayEquals(run.values(run.widened(one.sources().getFirst())), run.values(mean), 1e-5f);
    }
  }

  @Test
  void aBatchMayBeClosedWhileWorkThatReadsItIsUnderWay() {
    HostTensor table = weight(DType.F32, 9, 4);
    try (CudaBackend backend = open(Compute.F32);
        Run run = new Run(backend)) {
      Tensor out = run.arena.allocate(DType.F32, 3, 4);
      for (int token = 0; token < 3; token++) {
        PackedSequences tokens = PackedSequences.of(List.of(new int[] {token}));
        try (TokenBatch batch = backend.batch(tokens, 1, new float[1], new float[1])) {
          backend.embed(backend.weight(table), batch, 1, out.slice(token, token + 1));
        }
      }
      assertArrayEquals(run.values(backend.weight(table).slice(0, 3)), run.values(out));
    }
  }

  @Test
  void aPlaceThatIsClosedCannotBeUsed() {
    CudaBackend backend = open(Compute.F32);
    TensorArena arena = backend.arena();
    Tensor x = arena.allocate(DType.F32, 1, 4);
    TokenBatch batch =
        backend.batch(PackedSequences.of(List.of(new int[1])), 1, new float[1], new float[1]);
    arena.close();
    arena.close();
    assertThrows(IllegalStateException.class, () -> backend.add(x, x));
    assertThrows(IllegalStateException.class, () -> arena.allocate(DType.F32, 1, 1));
    Tensor y = backend.arena().allocate(DType.F32, 1, 2);
    batch.close();
    batch.close();
    assertThrows(
        IllegalStateException.class, () -> backend.rope(y, RotaryPairs.HALVES, 2, 0, batch, y));
    backend.close();
    backend.close();
    assertThrows(IllegalStateException.class, () -> backend.add(y, y));
  }

  @Test
  void onlyTheThreadThatOpenedItMayUseIt() throws InterruptedException {
    try (CudaBackend backend = open(Compute.F32);
        Run run = new Run(backend)) {
      Tensor x = run.tensor(new float[] {1, 2}, 1, 2);
      Throwable[] thrown = new Throwable[1];
      Thread other =
          Thread.ofPlatform()
              .name("other")
              .start(() -> thrown[0] = assertThrows(Throwable.class, () -> backend.add(x, x)));
      other.join();
      assertInstanceOf(IllegalStateException.class, thrown[0]);
      assertTrue(thrown[0].getMessage().endsWith("used from thread other"));
      Thread virtual =
          Thread.ofVirtual()
              .start(() -> thrown[0] = assertThrows(Throwable.class, () -> open(Compute.F32)));
      virtual.join();
      assertInstanceOf(IllegalStateException.class, thrown[0]);
      Thread closing =
          Thread.ofPlatform()
              .start(() -> thrown[0] = assertThrows(Throwable.class, backend::close));
      closing.join();
      assertInstanceOf(IllegalStateException.class, thrown[0]);
      backend.add(x, x);
      assertArrayEquals(new float[] {2, 4}, run.values(x));
    }
  }

  @Test
  @OnStandIn
  void aSecondBackendOnTheSameThreadDoesNotDisturbTheFirst() {
    EmulatedDevice.deviceCount(2);
    try (CudaBackend first = open(Compute.F32);
        Run run = new Run(first)) {
      Tensor x = run.tensor(new float[] {1, 2}, 1, 2);
      try (CudaBackend second = CudaBackend.open(Compute.F32, 1, CudaBinding.JCUDA);
          Run other = new Run(second)) {
        Tensor y = other.tensor(new float[] {5, 6}, 1, 2);
        first.add(x, x);
        second.add(y, y);
        assertArrayEquals(new float[] {10, 12}, other.values(y));
      }
      assertArrayEquals(new float[] {2, 4}, run.values(x));
    }
  }

  /** Does something on a backend, closes it, and returns what came out. */
  private static float[] on(Backend backend, Function<Run, Tensor> work) {
    try (backend;
        Run run = new Run(backend)) {
      return run.values(work.apply(run));
    }
  }

  private float[] normal(int n) {
    float[] values = new float[n];
    for (int i = 0; i < n; i++) {
      values[i] = (float) random.nextGaussian();
    }
    return values;
  }

  private HostTensor weight(DType dtype, int rows, int columns) {
    MemorySegment data = memory.allocate(MemoryTensor.byteSize(dtype, rows, columns), 64);
    MemoryTensor tensor = new MemoryTensor(dtype, rows, columns, data);
    for (long i = 0; i < tensor.elements(); i++) {
      tensor.set(i, (random.nextInt(2001) - 1000) / 700.0);
    }
    return new HostTensor("test", dtype, List.of((long) rows, (long) columns), data);
  }

  /** Tensors of one test on one backend. */
  private static final class Run implements AutoCloseable {
    private final Backend on;
    private final TensorArena arena;

    Run(Backend on) {
      this.on = on;
      this.arena = on.arena();
    }

    Tensor tensor(float[] values, long rows, long columns) {
      Tensor tensor = arena.allocate(DType.F32, rows, columns);
      on.upload(values, tensor);
      return tensor;
    }

    List<Tensor> weights(List<HostTensor> tensors) {
      return tensors.stream().map(on::weight).toList();
    }

    TensorMix mix(HostTensor source, DType to) {
      Tensor out = arena.allocate(to, source.shape().getFirst(), source.shape().getLast());
      return new TensorMix(out, new double[] {0.5}, List.of(on.weight(source)));
    }

    TokenBatch batch(PackedSequences tokens) {
      return on.batch(tokens, 1, new float[tokens.size()], new float[tokens.size()]);
    }

    Tensor widened(Tensor tensor) {
      Tensor wide = arena.allocate(DType.F32, tensor.rows(), tensor.columns());
      on.mix(List.of(new TensorMix(wide, new double[] {1}, List.of(tensor))));
      return wide;
    }

    float[] values(Tensor tensor) {
      float[] values = new float[(int) tensor.elements()];
      on.download(tensor, values);
      return values;
    }

    /** Waits for all work. */
    void finish() {
      values(arena.allocate(DType.F32, 1, 1));
    }

    @Override
    public void close() {
      arena.close();
    }
  }
}
