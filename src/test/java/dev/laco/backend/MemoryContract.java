package dev.laco.backend;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.DeviceInfo;
import dev.laco.model.DType;
import dev.laco.model.HostTensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

/** What every backend must do with its memory, and say of its device. */
public abstract class MemoryContract extends Contract {
  protected MemoryContract(TestedBackend tested) {
    super(tested);
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
  void memoryOfF32HoldsTwiceAsManyElementsOfSixteenBits() {
    float[] x = normal(3 * 10);
    for (DType dtype : new DType[] {DType.F16, DType.BF16}) {
      same(
          "view in " + dtype,
          Tolerance.EXACT,
          run -> {
            Tensor memory = run.result(3, 10);
            Tensor view = memory.view(dtype, 6, 10);
            assertEquals(
                List.of(dtype, 6L, 10L), List.of(view.dtype(), view.rows(), view.columns()));
            run.on.copy(run.tensor(x, 3, 10), view.slice(0, 3));
            run.on.copy(run.tensor(x, 3, 10), view.slice(3, 6));
            refuses(() -> memory.view(dtype, 7, 10));
            refuses(() -> memory.slice(1, 2).view(dtype, 3, 10));
            return run.widened(memory.slice(1, 3).view(dtype, 2, 20));
          });
    }
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 7, 8, 31, 33, 257, 4099})
  void roundsWhileItCopies(int width) {
    float[] x = normal(3 * width);
    x[0] = Float.NaN;
    x[width] = Float.NEGATIVE_INFINITY;
    x[2 * width] = 1e-41f;
    for (DType dtype : DType.values()) {
      same(
          "copy to " + dtype,
          Tolerance.EXACT,
          run -> {
            Tensor all = run.arena.allocate(dtype, 5, width);
            run.on.copy(run.tensor(x, 3, width), all.slice(1, 4));
            return run.widened(all);
          });
      double[] values =
          of(
              backend,
              run -> widen(run.download(run.widened(run.rounded(run.tensor(x, 3, width), dtype)))));
      for (int i = 0; i < x.length; i++) {
        double expected =
            switch (dtype) {
              case F32 -> x[i];
              case F16 -> Float.float16ToFloat(Float.floatToFloat16(x[i]));
              case BF16 -> DType.bf16ToFloat(DType.toBf16(x[i]));
            };
        assertEquals(expected, values[i], dtype + " of " + x[i]);
      }
    }
  }

  @Test
  void aWeightOfThreeExtentsIsAMatrixOfAllRows() {
    float[] x = normal(2 * 3 * 4);
    try (Arena memory = Arena.ofConfined()) {
      HostTensor stored = HostTensor.allocate(memory, "w", DType.F32, List.of(2L, 3L, 4L));
      MemorySegment.copy(x, 0, stored.data(), ValueLayout.JAVA_FLOAT, 0, x.length);
      Tensor weight = backend.weight(stored);
      float[] second = new float[3 * 4];
      backend.download(weight.slice(3, 6), second);
      assertArrayEquals(Arrays.copyOfRange(x, 12, 24), second);
      backend.release(List.of(stored));
    }
  }

  /** More than a device copies at once. */
  @Test
  void copiesALargeTensorToTheHostBitForBit() {
    int columns = 9001;
    try (TensorArena arena = backend.arena();
        Arena memory = Arena.ofConfined()) {
      Tensor x = arena.allocate(DType.F32, 1024, columns);
      float[] row = new float[columns];
      for (int r = 0; r < 1024; r++) {
        Arrays.fill(row, r + 0.5f);
        backend.upload(row, x.slice(r, r + 1));
      }
      HostTensor host = HostTensor.allocate(memory, "x", DType.F32, List.of(1024L, (long) columns));
      backend.download(x, host);
      for (int r = 0; r < 1024; r++) {
        Arrays.fill(row, r + 0.5f);
        assertArrayEquals(row, MemoryTensor.of(host).row(r));
      }
    }
  }

  @Test
  void copiesANarrowTensorToTheHost() {
    short[] bits = {0x3f80, (short) 0xc0a1, 0x7fc0, (short) 0x8000, 1, 0x7f80};
    try (Arena memory = Arena.ofConfined()) {
      HostTensor stored = HostTensor.allocate(memory, "w", DType.BF16, List.of(2L, 3L));
      MemorySegment.copy(bits, 0, stored.data(), ValueLayout.JAVA_SHORT, 0, bits.length);
      HostTensor found = HostTensor.allocate(memory, "w", DType.BF16, List.of(2L, 3L));
      backend.download(backend.weight(stored), found);
      assertEquals(-1, stored.data().mismatch(found.data()));
      backend.release(List.of(stored));
    }
  }

  @Test
  void aNewWeightIsMadeOnTheDevice() {
    try (Arena memory = Arena.ofShared();
        TensorArena arena = backend.arena()) {
      HostTensor host = HostTensor.allocate(memory, "w", DType.BF16, List.of(2L, 3L));
      Tensor made = backend.newWeight(host);
      Tensor values = arena.allocate(DType.F32, 2, 3);
      backend.upload(new float[] {1, -2, 0.5f, 3, -0f, 7}, values);
      backend.copy(values, made);
      backend.fetch(List.of(host)).join();
      MemoryTensor copy = MemoryTensor.of(host);
      assertArrayEquals(new float[] {1, -2, 0.5f}, copy.row(0));
      assertArrayEquals(new float[] {3, -0f, 7}, copy.row(1));
      HostTensor again = HostTensor.allocate(memory, "w", DType.BF16, List.of(2L, 3L));
      backend.download(backend.weight(host), again);
      assertEquals(-1, host.data().mismatch(again.data()));
      backend.release(List.of(host));
      copy.set(0, 9);
      backend.download(backend.weight(host), again);
      assertEquals(9, MemoryTensor.of(again).get(0));
      backend.release(List.of(host));
    }
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

  @ParameterizedTest
  @EnumSource
  void zeroesATensorAndNothingBesideIt(DType dtype) {
    try (Arena memory = Arena.ofShared();
        TensorArena arena = backend.arena()) {
      Tensor values = arena.allocate(DType.F32, 4, 3);
      backend.upload(new float[] {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}, values);
      Tensor all = arena.allocate(dtype, 4, 3);
      backend.copy(values, all);
      backend.zero(all.slice(1, 3));
      HostTensor found = HostTensor.allocate(memory, "all", dtype, List.of(4L, 3L));
      backend.download(all, found);
      MemoryTensor rows = MemoryTensor.of(found);
      assertArrayEquals(new float[] {1, 2, 3}, rows.row(0));
      assertArrayEquals(new float[3], rows.row(1));
      assertArrayEquals(new float[3], rows.row(2));
      assertArrayEquals(new float[] {10, 11, 12}, rows.row(3));
    }
  }

  @Test
  void refusesArgumentsThatDoNotFit() {
    try (Run run = new Run(backend)) {
      Tensor x = run.tensor(new float[12], 3, 4);
      Tensor other = run.tensor(new float[15], 3, 5);
      Tensor half = run.arena.allocate(DType.F16, 3, 4);
      refuses(() -> backend.copy(half, x));
      refuses(() -> backend.copy(x, other));
      refuses(() -> backend.upload(new float[11], x));
      refuses(() -> backend.download(half, new float[12]));
      HostTensor wide = HostTensor.allocate(Arena.ofAuto(), "w", DType.F32, List.of(12L));
      refuses(() -> backend.download(half, wide));
      refuses(() -> backend.download(other, wide));
    }
  }
}
