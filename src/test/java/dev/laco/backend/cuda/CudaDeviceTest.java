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

  /** Multiprocessors and clocks of data sheets, and what they say of dense bf16 with f32 sums. */
  @ParameterizedTest
  @CsvSource({
    "NVIDIA H100 80GB HBM3, 9, 0, 132, 1830, 989e12, true",
    "NVIDIA A100-SXM4-80GB, 8, 0, 108, 1410, 312e12, true",
    "NVIDIA L40S, 8, 9, 142, 2520, 362e12, false",
    "NVIDIA GeForce RTX 4090, 8, 9, 128, 2520, 165e12, false",
    "NVIDIA GeForce RTX 3090, 8, 6, 82, 1695, 71e12, false",
    "NVIDIA GeForce RTX 5090, 12, 0, 170, 2407, 209.5e12, false"
  })
  void theRateOfTensorCoresIsThatOfTheDataSheet(
      String card, int major, int minor, int count, double megahertz, double sheet, boolean f64) {
    CudaDevice device = new CudaDevice(0, 0, card, major, minor, 0, count * megahertz * 1e6, 0);
    assertEquals(sheet, device.mostOperationsPerSecond(DType.BF16), 0.02 * sheet);
    assertEquals(f64, device.hasFastF64());
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
