package dev.laco.backend.cuda;

import java.lang.foreign.MemorySegment;

/** Host memory that the device copies from and to by itself. */
final class PinnedBuffer extends CudaObject {
  private final MemorySegment segment;

  /**
   * Memory with any content.
   *
   * @param purpose for the message where there is too little
   * @throws dev.laco.ResourceException if the system gives no more
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
