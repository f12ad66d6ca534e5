package dev.laco;

import org.jspecify.annotations.Nullable;

/**
 * Where and how a job computes, and how much memory it may take.
 *
 * @param device {@code auto}, {@code cpu}, {@code cuda}, {@code cuda:N} or {@code reference}
 * @param compute the types of matrix products
 * @param threads CPU threads, 1 to {@value #MOST_THREADS}; null for one per core
 * @param cudaBinding how the CUDA driver is called
 * @param memory most bytes on a GPU for weights and buffers, on the CPU for buffers beside the
 *     weights; null for what is free, less a margin
 * @param hostMemory most bytes of this machine's memory for the whole process; null for what is
 *     free, less a margin
 */
public record DeviceSettings(
    String device,
    Compute compute,
    @Nullable Integer threads,
    CudaBinding cudaBinding,
    @Nullable Long memory,
    @Nullable Long hostMemory) {
  /**
   * The most threads that may be asked for: more than any machine has cores. OpenMP ends the
   * process if the system refuses it a thread.
   */
  public static final int MOST_THREADS = 1024;

  /** The first GPU that can be used, else the processor; memory that is free. */
  public static final DeviceSettings AUTO =
      new DeviceSettings("auto", Compute.AUTO, null, CudaBinding.FFM, null, null);

  /**
   * Settings of all values.
   *
   * @throws UsageException if {@code threads} is out of range
   */
  public DeviceSettings {
    if (threads != null && (threads < 1 || threads > MOST_THREADS)) {
      throw Setting.of("threads").refuse(threads, "1 to " + MOST_THREADS);
    }
  }

  /** A device by its name; everything else as in {@link #AUTO}. */
  public static DeviceSettings of(String device) {
    return new DeviceSettings(device, Compute.AUTO, null, CudaBinding.FFM, null, null);
  }

  /** The same settings with other types of matrix products. */
  public DeviceSettings withCompute(Compute other) {
    return new DeviceSettings(device, other, threads, cudaBinding, memory, hostMemory);
  }

  /** The same settings with {@code count} CPU threads. */
  public DeviceSettings withThreads(int count) {
    return new DeviceSettings(device, compute, count, cudaBinding, memory, hostMemory);
  }

  /**
   * The same settings with bounds of memory in bytes, each null for what is free, less a margin.
   */
  public DeviceSettings withMemory(@Nullable Long onDevice, @Nullable Long onHost) {
    return new DeviceSettings(device, compute, threads, cudaBinding, onDevice, onHost);
  }
}
