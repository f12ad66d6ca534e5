package dev.laco.backend.cuda;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.Compute;
import dev.laco.CudaBinding;
import dev.laco.ResourceException;
import dev.laco.backend.MemoryArena;
import dev.laco.backend.MemoryTensor;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.model.DType;
import dev.laco.model.HostTensor;
import java.lang.foreign.Arena;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Device memory is allocated once, kept for the next buffer of its size, and given up in need. */
@OnStandIn
@ExtendWith(FreshDevice.class)
class CudaMemoryTest {
  private static final long MB = 1L << 20;

  private static CudaBackend open(Long memory) {
    return CudaBackend.open(Compute.AUTO, 0, CudaBinding.FFM, memory);
  }

  /** Allocates f32 tensors of so many MB, and frees all of them. */
  private static void use(CudaBackend backend, long... sizes) {
    try (TensorArena arena = backend.arena()) {
      for (long size : sizes) {
        arena.allocate(DType.F32, 1, size * MB / Float.BYTES);
      }
    }
  }

  private static long free(CudaBackend backend) {
    return Objects.requireNonNull(backend.info().memory()).free();
  }

  /** Bytes of the device that are allocated, idle ones included. */
  private static long taken(CudaBackend backend) {
    CudaDriver.Memory memory = backend.context().driver().memory();
    return memory.total() - memory.free();
  }

  @Test
  void batchesAreAsLargeAsTheMemoryAllows() {
    EmulatedDevice.memory(64L << 30);
    try (CudaBackend backend = open(null)) {
      assertEquals(8192, backend.batchTokens(1024, 1));
      assertEquals(8192, backend.batchTokens(1024, 128 << 10));
      assertEquals(4096, backend.batchTokens(2048, 400 << 10));
      assertEquals(1024, backend.batchTokens(1024, MB));
      assertEquals(2048, backend.batchTokens(2048, MB));
    }
    try (CudaBackend bounded = open(32L << 30)) {
      assertEquals(1024, bounded.batchTokens(1024, 1));
    }
  }

  @ParameterizedTest
  @EnumSource(CudaBinding.class)
  void whatWasFreedServesAgainAndNobodyWaits(CudaBinding binding) {
    try (CudaBackend backend = CudaBackend.open(Compute.AUTO, 0, binding)) {
      long free = free(backend);
      use(backend, 1, 2, 2);
      assertEquals(free, free(backend), "idle memory is free");
      long allocations = EmulatedDevice.allocations();
      long waits = EmulatedDevice.synchronizations();
      use(backend, 2);
      use(backend, 2, 2, 1);
      assertEquals(allocations, EmulatedDevice.allocations());
      assertEquals(waits, EmulatedDevice.synchronizations());
      use(backend, 1, 1);
      assertEquals(allocations + 1, EmulatedDevice.allocations());
    }
  }

  @Test
  void newTensorsAreZeroInMemoryThatServesAgain() {
    try (CudaBackend backend = open(null)) {
      try (TensorArena arena = backend.arena()) {
        backend.upload(new float[] {1, 2, 3}, arena.allocate(DType.F32, 1, 3));
      }
      try (TensorArena arena = backend.arena()) {
        float[] found = new float[3];
        backend.download(arena.allocate(DType.F32, 1, 3), found);
        assertArrayEquals(new float[3], found);
      }
    }
  }

  @Test
  void idleMemoryIsGivenUpWhereTheDeviceHasNoMore() {
    EmulatedDevice.memory(200 * MB);
    try (CudaBackend backend = open(null)) {
      use(backend, 40);
      use(backend, 39);
      use(backend, 60);
      use(backend, 100);
      assertThrows(ResourceException.class, () -> use(backend, 100, 100));
    }
  }

  @Test
  void idleMemoryThatWasUsedLongestAgoGoesFirst() {
    try (CudaBackend backend = open(null)) {
      long buffers = taken(backend);
      backend.context().memory().limit(buffers + 10 * MB);
      use(backend, 3);
      use(backend, 4);
      use(backend, 3);
      long allocations = EmulatedDevice.allocations();
      use(backend, 5);
      assertEquals(8 * MB, taken(backend) - buffers);
      use(backend, 3);
      use(backend, 5);
      assertEquals(allocations + 1, EmulatedDevice.allocations());
      use(backend, 4);
      assertEquals(allocations + 2, EmulatedDevice.allocations());
    }
  }

  @Test
  void theSettingBoundsWhatIsKept() {
    try (CudaBackend backend = open(100 * MB)) {
      for (long size = 10; size < 40; size++) {
        use(backend, size);
        assertTrue(taken(backend) <= 100 * MB, "after " + size + " MB");
      }
    }
  }

  /** Weights are copied on a stream of their own, more of them than there are pinned buffers. */
  @Test
  void aWeightIsCopiedBehindTheWorkThatReadsWhatWasThereBefore() {
    try (CudaBackend backend = open(null);
        MemoryArena memory = new MemoryArena();
        TensorArena arena = backend.arena()) {
      List<HostTensor> first = new ArrayList<>();
      List<Tensor> copies = new ArrayList<>();
      for (int i = 0; i < 6; i++) {
        first.add(weight(memory, 1 + i));
        copies.add(arena.allocate(DType.F32, 1, 5));
      }
      for (int i = 0; i < first.size(); i++) {
        backend.copy(backend.weight(first.get(i)), copies.get(i));
      }
      backend.release(first);
      long allocations = EmulatedDevice.allocations();
      for (int i = 0; i < first.size(); i++) {
        backend.weight(weight(memory, 11 + i));
      }
      assertEquals(allocations, EmulatedDevice.allocations());
      for (int i = 0; i < first.size(); i++) {
        float[] found = new float[5];
        backend.download(copies.get(i), found);
        assertEquals(1 + i, found[4]);
      }
    }
  }

  @ParameterizedTest
  @EnumSource(CudaBinding.class)
  void theOwnerWaitsForNoNewWeightThatComesToTheHost(CudaBinding binding) {
    try (CudaBackend backend = CudaBackend.open(Compute.AUTO, 0, binding);
        MemoryArena memory = new MemoryArena();
        TensorArena arena = backend.arena()) {
      List<HostTensor> made =
          List.of(newWeight(backend, arena, memory, 1), newWeight(backend, arena, memory, 2));
      EmulatedDevice.holdOtherThreads(true);
      long waits = EmulatedDevice.synchronizations();
      CompletableFuture<Void> copies = backend.fetch(made);
      assertEquals(waits, EmulatedDevice.synchronizations());
      float[] found = new float[5];
      backend.download(backend.weight(made.getFirst()), found);
      assertEquals(1, found[4]);
      assertFalse(copies.isDone());
      made.forEach(weight -> assertEquals(0, MemoryTensor.of(weight).get(4)));
      EmulatedDevice.holdOtherThreads(false);
      copies.join();
      assertEquals(1, MemoryTensor.of(made.get(0)).get(4));
      assertEquals(2, MemoryTensor.of(made.get(1)).get(4));
    }
  }

  /** The copy goes on only once the owner waits. */
  @Test
  void aNewWeightStaysUntilItsCopyHasEnded() {
    try (CudaBackend backend = open(null);
        MemoryArena memory = new MemoryArena();
        TensorArena arena = backend.arena()) {
      HostTensor made = newWeight(backend, arena, memory, 1);
      EmulatedDevice.holdOtherThreads(true);
      CompletableFuture<Void> copy = backend.fetch(List.of(made));
      EmulatedDevice.letOtherThreadsGoOnceThisOneWaits();
      long allocations = EmulatedDevice.allocations();
      backend.release(List.of(made));
      HostTensor next = newWeight(backend, arena, memory, 2);
      assertEquals(allocations + 1, EmulatedDevice.allocations(), "of the values to copy");
      float[] found = new float[5];
      backend.download(backend.weight(next), found);
      assertEquals(2, found[4]);
      copy.join();
      assertEquals(1, MemoryTensor.of(made).get(4));
    }
  }

  @Test
  void aCopyThatFailsSaysWhy() {
    try (CudaBackend backend = open(null);
        MemoryArena memory = new MemoryArena();
        TensorArena arena = backend.arena()) {
      HostTensor made = HostTensor.allocate(memory, "w", DType.BF16, List.of(5L));
      EmulatedDevice.failLaunch(1, 700);
      backend.copy(arena.allocate(DType.F32, 1, 5), backend.newWeight(made));
      CompletableFuture<Void> copy = backend.fetch(List.of(made));
      CompletionException error = assertThrows(CompletionException.class, copy::join);
      assertInstanceOf(ResourceException.class, error.getCause());
      backend.release(List.of(made));
    }
  }

  /** A weight of five equal values that the device makes. */
  private static HostTensor newWeight(
      CudaBackend backend, TensorArena arena, MemoryArena memory, float value) {
    HostTensor made = HostTensor.allocate(memory, "w", DType.F32, List.of(5L));
    float[] values = new float[5];
    Arrays.fill(values, value);
    Tensor tensor = arena.allocate(DType.F32, 1, 5);
    backend.upload(values, tensor);
    backend.copy(tensor, backend.newWeight(made));
    return made;
  }

  /** More than a thread copies at once, and more than a pinned buffer holds. */
  @ParameterizedTest
  @ValueSource(booleans = {true, false})
  void largeTensorsGoToTheDeviceAndBack(boolean ofOneThread) {
    try (CudaBackend backend = open(null);
        Arena memory = ofOneThread ? Arena.ofConfined() : Arena.ofShared()) {
      long elements = 33 * MB / Float.BYTES + 3;
      HostTensor there = HostTensor.allocate(memory, "w", DType.F32, List.of(elements));
      HostTensor back = HostTensor.allocate(memory, "w", DType.F32, List.of(elements));
      for (long i = 0; i < elements; i++) {
        there.data().setAtIndex(ValueLayout.JAVA_FLOAT, i, i);
      }
      backend.download(backend.weight(there), back);
      assertEquals(-1, there.data().mismatch(back.data()));
    }
  }

  private static HostTensor weight(MemoryArena memory, float value) {
    HostTensor weight = HostTensor.allocate(memory, "w", DType.F32, List.of(5L));
    for (int i = 0; i < 5; i++) {
      MemoryTensor.of(weight).set(i, value);
    }
    return weight;
  }
}
