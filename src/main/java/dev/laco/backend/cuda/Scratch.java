package dev.laco.backend.cuda;

import org.jspecify.annotations.Nullable;

/**
 * Device memory of one purpose that grows to the largest size asked for and then stays: after one
 * pass over the shapes of a job nothing grows any more.
 */
final class Scratch {
  private final CudaContext context;
  private final String purpose;
  private @Nullable DeviceBuffer buffer;

  /**
   * @param purpose for the message where there is too little
   */
  Scratch(CudaContext context, String purpose) {
    this.context = context;
    this.purpose = purpose;
  }

  /** At least {@code bytes}, with any content; what an earlier call returned may be gone. */
  long atLeast(long bytes) {
    if (buffer == null || buffer.bytes() < bytes) {
      if (buffer != null) {
        // The driver waits for work that still uses it.
        buffer.close();
      }
      buffer = new DeviceBuffer(context, bytes, purpose);
    }
    return buffer.address();
  }
}
