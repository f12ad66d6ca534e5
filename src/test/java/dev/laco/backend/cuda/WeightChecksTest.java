package dev.laco.backend.cuda;

import static org.junit.jupiter.api.Assertions.assertEquals;

import dev.laco.Compute;
import dev.laco.CudaBinding;
import dev.laco.backend.MemoryTensor;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.model.DType;
import dev.laco.model.HostTensor;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** What a device finds in weights is told with the next result. */
class WeightChecksTest {
  private final Arena memory = Arena.ofShared();
  private final List<Boolean> told = new ArrayList<>();
  private CudaBackend backend;
  private TensorArena arena;

  @BeforeEach
  void open() {
    EmulatedDevice.reset();
    backend = CudaBackend.open(Compute.AUTO, 0, CudaBinding.FFM);
    arena = backend.arena();
  }

  @AfterEach
  void close() {
    arena.close();
    backend.close();
    EmulatedDevice.assertNothingLeaks();
    memory.close();
  }

  private HostTensor weight(double value) {
    HostTensor weight = HostTensor.allocate(memory, "w", DType.BF16, List.of(3L, 5L));
    MemoryTensor.of(weight).set(14, value);
    return weight;
  }

  /** Waits for a result of so many f32 numbers. */
  private void result(int size) {
    Tensor tensor = arena.allocate(DType.F32, 1, size);
    backend.download(tensor, new float[size]);
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 1 << 20})
  void whatWasFoundIsToldWithAResultOfAnySize(int size) {
    for (double value : new double[] {1, Double.NaN, 3e38, Double.NEGATIVE_INFINITY}) {
      HostTensor weight = weight(value);
      backend.checkFinite(weight, told::add);
      backend.weight(weight);
    }
    assertEquals(List.of(), told);
    result(size);
    assertEquals(List.of(true, false, true, false), told);
    result(size);
    assertEquals(4, told.size());
  }

  @Test
  void aWeightThatIsOnTheDeviceIsLookedAtAtOnce() {
    HostTensor weight = weight(Double.NaN);
    backend.weight(weight);
    backend.checkFinite(weight, told::add);
    result(1);
    assertEquals(List.of(false), told);
  }

  @Test
  void aWeightThatIsNotOnTheDeviceIsLookedAtWhenItComes() {
    HostTensor weight = weight(Double.NaN);
    backend.checkFinite(weight, told::add);
    result(1);
    assertEquals(List.of(), told);
    backend.weight(weight);
    backend.release(List.of(weight));
    result(1);
    assertEquals(List.of(false), told);
  }

  @Test
  void anyNumberOfWeightsMayWait() {
    HostTensor finite = weight(1);
    HostTensor damaged = weight(Double.NaN);
    backend.weight(finite);
    backend.weight(damaged);
    int count = 5000;
    for (int i = 0; i < count; i++) {
      backend.checkFinite(i % 7 == 0 ? damaged : finite, told::add);
    }
    result(1);
    assertEquals(count, told.size());
    for (int i = 0; i < count; i++) {
      assertEquals(i % 7 != 0, told.get(i), "weight " + i);
    }
  }
}
