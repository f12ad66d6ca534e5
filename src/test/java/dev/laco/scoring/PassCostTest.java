package dev.laco.scoring;

import static org.junit.jupiter.api.Assertions.assertEquals;

import dev.laco.Compute;
import dev.laco.DeviceInfo;
import dev.laco.backend.Backend;
import dev.laco.backend.reference.ReferenceBackend;
import dev.laco.model.DType;
import java.lang.reflect.Proxy;
import org.junit.jupiter.api.Test;

/** What a pass costs follows from the rates of the device, not from those of one GPU. */
class PassCostTest {
  private static final int TOKENS = 100;

  /** About what CudaBackend reckons for an H100 and for an RTX 4090. */
  private static final Backend H100 = gpu(3.02e12, 640e12, 40e12);

  private static final Backend RTX_4090 = gpu(0.907e12, 198e12, 50e12);

  @Test
  void aPassCostsWhatTheDeviceCouldCalculateWhileItReadsTheWeights() {
    assertEquals(2, cost(H100, DType.BF16, false));
    assertEquals(2, cost(RTX_4090, DType.F16, false));
    // Weights of four bytes, and products in f32.
    assertEquals(0.3, cost(H100, DType.F32, false));
    assertEquals(1, cost(RTX_4090, DType.F32, false));
  }

  @Test
  void weightsThatStreamComeFromTheHostUnlessTheDevicesMemoryIsSlower() {
    assertEquals(300, cost(H100, DType.BF16, true));
    assertEquals(80, cost(RTX_4090, DType.BF16, true));
    assertEquals(30, cost(gpu(1e9, 3e12, 1e12), DType.BF16, true));
  }

  @Test
  void aPassIsNotSaidToCostAnythingWhereTheDriverDoesNotSayHowFastMemoryIs() {
    assertEquals(0, cost(gpu(0, 640e12, 40e12), DType.BF16, false));
    assertEquals(0, cost(gpu(3e12, 0, 0), DType.BF16, true));
  }

  @Test
  void aProcessorPaysForTheDiskOnly() {
    try (Backend processor = new ReferenceBackend(Compute.AUTO)) {
      assertEquals(0, cost(processor, DType.BF16, false));
      assertEquals(5, cost(processor, DType.BF16, true));
    }
  }

  private static double cost(Backend backend, DType weights, boolean streaming) {
    return PassCost.of(backend, weights, TOKENS, streaming);
  }

  /** A backend that only says what its device is. */
  private static Backend gpu(double bytesPerSecond, double halves, double f32) {
    DeviceInfo info =
        new DeviceInfo(
            DeviceInfo.Kind.CUDA, "cuda:0", new DeviceInfo.Memory(1L << 30, bytesPerSecond));
    return (Backend)
        Proxy.newProxyInstance(
            PassCostTest.class.getClassLoader(),
            new Class<?>[] {Backend.class},
            (_, method, arguments) ->
                switch (method.getName()) {
                  case "info" -> info;
                  case "productType" -> arguments[0];
                  case "operationsPerSecond" -> arguments[0] == DType.F32 ? f32 : halves;
                  default -> throw new UnsupportedOperationException(method.getName());
                });
  }
}
