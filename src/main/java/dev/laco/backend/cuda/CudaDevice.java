package dev.laco.backend.cuda;

import dev.laco.model.DType;
import java.util.Locale;

/**
 * A device as the driver describes it.
 *
 * @param ordinal the number of the device, as in {@code cuda:0}
 * @param handle the driver's handle
 * @param major major number of the compute capability
 * @param minor minor number of the compute capability
 * @param totalMemory bytes of device memory
 * @param clocks clock cycles in a second, of all multiprocessors together
 * @param bytesPerSecond peak bandwidth of the memory; 0 if the driver does not tell
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
  /** How much longer most chips without {@link #hasFastF64} take for f64 than for f32. */
  static final double SLOW_F64 = 64;

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

  /**
   * Peak bandwidth of a memory that moves as many bits as its bus is wide twice in a clock cycle.
   */
  static double bytesPerSecond(int clockKilohertz, int busBits) {
    return 2 * 1e3 * clockKilohertz * (busBits / 8.0);
  }

  /**
   * The peak rate of products in a type, in operations a second: that of tensor cores for the
   * 16-bit types, that of ordinary cores for f32. Tensor cores of GeForce cards sum in f32 at half
   * of the rate that the same chips have in cards for workstations.
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
          default -> firstOfItsKind ? 2048 : name.contains("GeForce") ? 512 : 1024;
        };
  }

  /**
   * Whether the device calculates f64 at half the rate of f32, as the chips for data centres do
   * (A100, H100, B200). Other chips calculate f64 at a 32nd or a 64th of the rate.
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
