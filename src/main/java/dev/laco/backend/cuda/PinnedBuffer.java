package dev.laco.backend.cuda;

import java.lang.foreign.MemorySegment;

/** Pinned host memory, which the device can read and write by itself. */
final class PinnedBuffer extends CudaObject {
  private final MemorySegment segment;

  /**
   * Allocates memory with any content.
   *
   * @param purpose what the memory is for, for the error message
   * @throws dev.laco.ResourceException if the system pins no more memory
   */
  PinnedBuffer(CudaContext context, long bytes, String purpose) {
    super(context);
    try {
      this.segment = driver().allocateHost(bytes);
    } catch (CudaException e) {
      throw context.explain(e, purpose + " (pinned host memory)", bytes);
    }
    opened();
  }

  MemorySegment segment() {
    requireOpen();
    return segment;
  }

  @Override
  void release() {
    driver().freeHost(segment);
  }
}
