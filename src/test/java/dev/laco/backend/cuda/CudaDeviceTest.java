package dev.laco.backend.cuda;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.Compute;
import dev.laco.CudaBinding;
import dev.laco.DeviceInfo;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.model.DType;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** What is reckoned from what the driver says of a device. */
class CudaDeviceTest {
  @BeforeEach
  void reset() {
    EmulatedDevice.reset();
  }

  /** Clocks and buses as nvidia-smi and the driver tell them, and what data sheets say. */
  @ParameterizedTest
  @CsvSource({
    "H100 SXM, 2619000, 5120, 3.35e12",
    "A100 80GB, 1593000, 5120, 2.04e12",
    "RTX 4090, 10501000, 384, 1.008e12",
    "L4, 6251000, 192, 300e9"
  })
  void theBandwidthOfMemoryIsThatOfTheDataSheet(
      String card, int kilohertz, int bits, double sheet) {
    assertEquals(sheet, CudaDevice.bytesPerSecond(kilohertz, bits), 0.01 * sheet, card);
  }

  @Test
  @OnStandIn
  void saysWhatIsFreeNowAndHowFastItIsRead() {
    try (CudaBackend backend = CudaBackend.open(Compute.AUTO, 0, CudaBinding.FFM);
        TensorArena arena = backend.arena()) {
      DeviceInfo.Memory before = backend.info().memory();
      Tensor tensor = arena.allocate(DType.F32, 1024, 1024);
      DeviceInfo.Memory after = backend.info().memory();
      assertTrue(before.free() - after.free() >= tensor.elements() * Float.BYTES);
      // 1 GHz and 64 bits, of which nine tenths are reached.
      assertEquals(0.9 * 16e9, after.bytesPerSecond(), 1);
    }
  }
}
