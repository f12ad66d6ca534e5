package dev.laco.backend.cuda;

import dev.laco.model.DType;
import java.util.Locale;

/**
 * A device as the driver describes it.
 *
 * @param ordinal N of {@code cuda:N}
 * @param handle of the driver
 * @param major compute capability
 * @param minor compute capability
 * @param totalMemory bytes
 * @param clocks of all multiprocessors in a second
 * @param bytesPerSecond that its memory moves at most; 0 where the driver does not say
 */
record CudaDevice(
    int ordinal,
    int handle,
    String name,
    int major,
    int minor,
    long totalMemory,
    double clocks,
    double bytesPerSecond) {
  static CudaDevice of(CudaDriver driver, int ordinal) {
    int handle = driver.device(ordinal);
    return new CudaDevice(
        ordinal,
        handle,
        driver.name(handle),
        driver.attribute(CudaDriver.CAPABILITY_MAJOR, handle),
        driver.attribute(CudaDriver.CAPABILITY_MINOR, handle),
        driver.totalMemory(handle),
        1e3
            * driver.attribute(CudaDriver.CLOCK_RATE, handle)
            * driver.attribute(CudaDriver.MULTIPROCESSORS, handle),
        bytesPerSecond(
            driver.attribute(CudaDriver.MEMORY_CLOCK_RATE, handle),
            driver.attribute(CudaDriver.MEMORY_BUS_WIDTH, handle)));
  }

  /** Memory moves as many bits as its bus is wide, twice a clock. */
  static double bytesPerSecond(int clockKilohertz, int busBits) {
    return 2 * 1e3 * clockKilohertz * (busBits / 8.0);
  }

  /**
   * Operations that products in a type do in a second at most: by tensor cores in the 16-bit types,
   * by ordinary ones in f32.
   */
  double mostOperationsPerSecond(DType type) {
    boolean firstOfItsKind = major == 8 && minor == 0;
    if (type == DType.F32) {
      return clocks * (firstOfItsKind ? 128 : 256);
    }
    return clocks
        * switch (major) {
          case 9 -> 4096;
          case 10 -> 8192;
          default -> firstOfItsKind ? 2048 : 1024;
        };
  }

  /**
   * True for the chips of data centres that calculate f64 at half the rate of f32 (A100, H100,
   * B200); others have a 32nd or a 64th.
   */
  boolean hasFastF64() {
    return minor == 0 && (major == 8 || major == 9 || major == 10);
  }

  /** {@code NVIDIA H100 80GB HBM3, compute capability 9.0, 85,899,345,920 bytes}. */
  String description() {
    return String.format(
        Locale.ROOT, "%s, compute capability %d.%d, %,d bytes", name, major, minor, totalMemory);
  }

  /** {@code cuda:0 NVIDIA H100 80GB HBM3, compute capability 9.0}. */
  @Override
  public String toString() {
    return String.format(
        Locale.ROOT, "cuda:%d %s, compute capability %d.%d", ordinal, name, major, minor);
  }
}
