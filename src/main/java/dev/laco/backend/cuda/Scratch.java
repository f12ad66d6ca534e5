package dev.laco.backend.cuda;

import org.jspecify.annotations.Nullable;

/**
 * Scratch memory on the device: it grows to the largest size that was asked for, and is kept until
 * the context is closed. After one pass over the shapes of a job it grows no more.
 */
final class Scratch {
  private final CudaContext context;
  private final String purpose;
  private @Nullable DeviceBuffer buffer;

  /**
   * @param purpose what the memory is for, for the error message
   */
  Scratch(CudaContext context, String purpose) {
    this.context = context;
    this.purpose = purpose;
  }

  /**
   * The address of at least {@code bytes} of memory with any content. Memory that an earlier call
   * returned may have been freed.
   */
  long atLeast(long bytes) {
    if (buffer == null || buffer.bytes() < bytes) {
      if (buffer != null) {
        // Work that is queued may still use the buffer.
        buffer.close();
      }
      buffer = new DeviceBuffer(context, bytes, purpose);
    }
    return buffer.address();
  }
}
