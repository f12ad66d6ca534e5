package dev.laco.backend.cpu;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.sun.management.ThreadMXBean;
import dev.laco.Compute;
import dev.laco.backend.AttentionSpec;
import dev.laco.backend.Head;
import dev.laco.backend.MemoryTensor;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.backend.TensorMix;
import dev.laco.backend.TokenBatch;
import dev.laco.model.Activation;
import dev.laco.model.DType;
import dev.laco.model.HostTensor;
import dev.laco.model.LogitSpec;
import dev.laco.model.NormSpec;
import dev.laco.model.PackedSequences;
import dev.laco.model.RotaryPairs;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemoryLayout;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SegmentAllocator;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.MethodHandle;
import java.lang.management.ManagementFactory;
import java.nio.channels.FileChannel;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.List;
import java.util.LongSummaryStatistics;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** Memory: elements beyond 2^31 are reached, and ops allocate nothing once they know a shape. */
class CpuMemoryTest {
  private static final long BEYOND_INT = 1L << 31;
  private static final int MOST_ROUNDS = 400;

  private final CpuBackend backend = CpuBackend.open(Compute.AUTO, 1);
  private final TensorArena arena = backend.arena();

  @AfterEach
  void close() {
    arena.close();
    backend.close();
  }

  @Test
  void embedsAndMultipliesRowsBeyondTwoToThe31Elements(@TempDir Path folder) throws IOException {
    int width = 4096;
    long rows = BEYOND_INT / width + 10;
    try (Arena mapping = Arena.ofShared();
        TokenBatch batch = batch(PackedSequences.of(List.of(new int[] {(int) rows - 1, 0})))) {
      MemoryTensor table = sparse(folder, mapping, DType.BF16, rows, width);
      for (int i = 0; i < width; i++) {
        table.set((rows - 1) * width + i, i % 7 - 3);
      }
      Tensor weight =
          backend.weight(
              new HostTensor("table", DType.BF16, List.of(rows, (long) width), table.data()));
      Tensor out = arena.allocate(DType.F32, 2, width);
      backend.embed(weight, batch, 1, out);
      float[] embedded = download(out);
      for (int i = 0; i < width; i++) {
        assertTrue(embedded[i] == i % 7 - 3 && embedded[width + i] == 0, "element " + i);
      }
      Tensor products = arena.allocate(DType.F32, 2, 3);
      backend.linear(out, weight.slice(rows - 3, rows), null, products);
      float squares = 0;
      for (int i = 0; i < width; i++) {
        squares += (i % 7 - 3) * (i % 7 - 3);
      }
      assertArrayEquals(new float[] {0, 0, squares, 0, 0, 0}, download(products));
      Tensor mixed = arena.allocate(DType.F32, 2, width);
      backend.mix(
          List.of(new TensorMix(mixed, new double[] {2}, List.of(weight.slice(rows - 2, rows)))));
      assertTrue(download(mixed)[width + 1] == -4, "the last row, doubled");
    }
  }

  @Test
  void attendsToKeysBeyondTwoToThe31Elements(@TempDir Path folder) throws IOException {
    int width = 128;
    int heads = 8;
    int window = 40;
    int keys = (int) (BEYOND_INT / (heads * width)) + 10;
    try (Arena mapping = Arena.ofShared();
        TokenBatch far =
            batch(new PackedSequences(new int[1], new int[] {0, 1}, new int[] {keys - 1}));
        TokenBatch near =
            batch(new PackedSequences(new int[1], new int[] {0, 1}, new int[] {window - 1}))) {
      MemoryTensor cache = sparse(folder, mapping, DType.F32, keys, (long) heads * width);
      MemoryTensor end = cache.slice(keys - window, keys);
      for (long i = 0; i < end.elements(); i++) {
        end.set(i, Math.sin(i));
      }
      Tensor query = arena.allocate(DType.F32, 1, (long) heads * width);
      backend.copy(end.slice(3, 4), query);
      Tensor out = arena.allocate(DType.F32, 1, (long) heads * width);
      Tensor expected = arena.allocate(DType.F32, 1, (long) heads * width);
      AttentionSpec spec =
          new AttentionSpec(heads, heads, width, window, new LogitSpec(0.1, 0), DType.F32);
      backend.attention(query, cache, cache, null, spec, far, out);
      backend.attention(query, end, end, null, spec, near, expected);
      assertArrayEquals(download(expected), download(out));
    }
  }

  @ParameterizedTest
  @EnumSource(Compute.class)
  void allocatesNothingOnceItKnowsTheShapes(Compute compute) {
    int rows = 60;
    int width = 64;
    try (CpuBackend ops = CpuBackend.open(compute, 1);
        TokenBatch batch = batch(PackedSequences.of(List.of(new int[20], new int[40])))) {
      Tensor x = arena.allocate(DType.F32, rows, width);
      Tensor y = arena.allocate(DType.F32, rows, width);
      Tensor norm = arena.allocate(DType.BF16, 1, width);
      Tensor weight = arena.allocate(DType.BF16, width, width);
      Head head = new Head(arena.allocate(DType.F16, 300, width), LogitSpec.PLAIN);
      double[] scores = new double[rows];
      AttentionSpec spec = new AttentionSpec(4, 4, 16, 0, LogitSpec.PLAIN, DType.F32);
      List<TensorMix> mix =
          List.of(new TensorMix(weight, new double[] {1, 2}, List.of(weight, weight)));
      Runnable step =
          () -> {
            ops.embed(head.weight(), batch, 1, x);
            ops.rmsNorm(x, norm, new NormSpec(1e-5, 0), x);
            ops.linear(x, weight, norm, y);
            ops.rope(y, RotaryPairs.HALVES, 16, 0, batch, y);
            ops.attention(x, y, y, null, spec, batch, x);
            ops.gatedActivation(Activation.SILU, x, y, x);
            ops.add(x, y);
            ops.multiply(x, y, x);
            ops.mix(mix);
            ops.cosine(x, y, batch);
            ops.logProbability(x, head, batch, scores);
            ops.copy(x, y);
          };
      // The JVM's compilers take and give back megabytes meanwhile, so that a round says nothing by
      // itself; a leak is the same in every round, and they are done some day.
      ThreadMXBean threads = (ThreadMXBean) ManagementFactory.getThreadMXBean();
      int steps = 500;
      long heapPerStep = Long.MAX_VALUE;
      List<Long> nativePerStep = new ArrayList<>();
      while (!isSteady(nativePerStep)) {
        assertTrue(nativePerStep.size() < MOST_ROUNDS, "never steady: " + nativePerStep);
        long heapBefore = threads.getCurrentThreadAllocatedBytes();
        long nativeBefore = nativeBytes();
        repeat(step, steps);
        nativePerStep.add((nativeBytes() - nativeBefore) / steps);
        long heap = threads.getCurrentThreadAllocatedBytes() - heapBefore;
        heapPerStep = Math.min(heapPerStep, heap / steps);
      }
      // Eleven ops may make small objects that the compiler did not remove: views and keys, no
      // buffers.
      assertTrue(heapPerStep < 8192, heapPerStep + " bytes of heap per step");
      assertTrue(
          nativePerStep.getLast() < 64,
          nativePerStep.getLast() + " bytes of native memory kept per step");
    }
  }

  /** Whether the last three rounds agree. */
  private static boolean isSteady(List<Long> rounds) {
    LongSummaryStatistics last =
        rounds.reversed().stream().limit(3).mapToLong(Long::longValue).summaryStatistics();
    return last.getCount() == 3 && last.getMax() - last.getMin() < 32;
  }

  private static void repeat(Runnable step, int times) {
    for (int i = 0; i < times; i++) {
      step.run();
    }
  }

  /** Bytes that the C library has handed out: {@code uordblks + hblkhd} of {@code mallinfo2()}. */
  private static long nativeBytes() {
    MemoryLayout info = MemoryLayout.sequenceLayout(10, ValueLayout.JAVA_LONG);
    Linker linker = Linker.nativeLinker();
    MethodHandle mallinfo =
        linker.downcallHandle(
            linker.defaultLookup().findOrThrow("mallinfo2"),
            FunctionDescriptor.of(MemoryLayout.structLayout(info)));
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment fields = (MemorySegment) mallinfo.invokeExact((SegmentAllocator) arena);
      return fields.getAtIndex(ValueLayout.JAVA_LONG, 4)
          + fields.getAtIndex(ValueLayout.JAVA_LONG, 7);
    } catch (Throwable unexpected) {
      throw new AssertionError(unexpected);
    }
  }

  private TokenBatch batch(PackedSequences tokens) {
    float[] angles = new float[tokens.size()];
    return backend.batch(tokens, 1, angles, angles);
  }

  private float[] download(Tensor tensor) {
    float[] values = new float[(int) tensor.elements()];
    backend.download(tensor, values);
    return values;
  }

  /** Zeros that take no room until they are touched. */
  private static MemoryTensor sparse(Path folder, Arena arena, DType dtype, long rows, long columns)
      throws IOException {
    try (FileChannel file =
        FileChannel.open(
            folder.resolve("sparse"),
            StandardOpenOption.CREATE_NEW,
            StandardOpenOption.SPARSE,
            StandardOpenOption.READ,
            StandardOpenOption.WRITE)) {
      long bytes = MemoryTensor.byteSize(dtype, rows, columns);
      MemorySegment data = file.map(FileChannel.MapMode.READ_WRITE, 0, bytes, arena);
      return new MemoryTensor(dtype, rows, columns, data);
    }
  }
}
