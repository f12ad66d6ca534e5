package dev.laco;

import org.jspecify.annotations.Nullable;

/**
 * What a device is and which memory it has.
 *
 * @param kind what kind of device it is
 * @param name the device in words, beginning with {@code cpu}, {@code cuda} or {@code reference}
 * @param memory the device's own memory, to which weights are copied before ops use them; null for
 *     a device that reads weights where they lie in the memory of this process
 */
public record DeviceInfo(Kind kind, String name, @Nullable Memory memory) {
  /** Kinds of devices. */
  public enum Kind {
    /** The processor, by C++ kernels and oneDNN. */
    CPU,
    /** An NVIDIA GPU. */
    CUDA,
    /** Plain Java in f64, on the CPU. */
    REFERENCE
  }

  /**
   * Memory of a device.
   *
   * @param free bytes that were free when the device was asked
   * @param bytesPerSecond about how many bytes ops read in a second; 0 if that is not known
   */
  public record Memory(long free, double bytesPerSecond) {}

  /** A device that works in the memory of this process. */
  public static DeviceInfo inHostMemory(Kind kind, String name) {
    return new DeviceInfo(kind, name, null);
  }

  /** Whether weights are copied to the device's own memory before ops use them. */
  public boolean copiesWeights() {
    return memory != null;
  }
}
