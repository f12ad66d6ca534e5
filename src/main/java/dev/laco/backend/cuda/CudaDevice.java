package dev.laco.backend.cuda;

/**
 * A device as the driver describes it.
 *
 * @param ordinal N of {@code cuda:N}
 * @param handle of the driver
 * @param major compute capability
 * @param minor compute capability
 * @param totalMemory bytes
 */
record CudaDevice(int ordinal, int handle, String name, int major, int minor, long totalMemory) {
  static CudaDevice of(CudaDriver driver, int ordinal) {
    int handle = driver.device(ordinal);
    return new CudaDevice(
        ordinal,
        handle,
        driver.name(handle),
        driver.attribute(CudaDriver.CAPABILITY_MAJOR, handle),
        driver.attribute(CudaDriver.CAPABILITY_MINOR, handle),
        driver.totalMemory(handle));
  }

  /**
   * True for the chips of data centres that calculate f64 at half the rate of f32 (A100, H100,
   * B200); others have a 32nd or a 64th.
   */
  boolean hasFastF64() {
    return minor == 0 && (major == 8 || major == 9 || major == 10);
  }

  /** {@code cuda:0 NVIDIA H100 80GB HBM3, compute capability 9.0}. */
  @Override
  public String toString() {
    return "cuda:%d %s, compute capability %d.%d".formatted(ordinal, name, major, minor);
  }
}
