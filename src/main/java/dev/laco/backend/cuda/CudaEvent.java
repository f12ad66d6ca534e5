package dev.laco.backend.cuda;

/** A point in the work of a stream. */
final class CudaEvent extends CudaObject {
  private final long handle;

  CudaEvent(CudaContext context) {
    super(context);
    this.handle = driver().createEvent();
    opened();
  }

  long handle() {
    requireOpen();
    return handle;
  }

  /** Marks the point after all work that the stream has been given so far. */
  void record(CudaStream stream) {
    driver().record(handle(), stream.handle());
  }

  /**
   * Waits until the stream has reached the marked point; returns at once if no point was marked.
   */
  void synchronize() {
    driver().synchronizeEvent(handle());
  }

  @Override
  void release() {
    driver().destroyEvent(handle);
  }
}
