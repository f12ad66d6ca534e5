package dev.laco.backend.cuda;

/** A queue of work that the device does in order. */
final class CudaStream extends CudaObject {
  private final long handle;
  private long synchronizations;

  CudaStream(CudaContext context) {
    super(context);
    this.handle = driver().createStream();
    opened();
  }

  long handle() {
    requireOpen();
    return handle;
  }

  /** Makes later work of this stream wait for the event. */
  void await(CudaEvent event) {
    driver().await(handle(), event.handle());
  }

  /** Waits until all work of the stream is done. */
  void synchronize() {
    driver().synchronize(handle());
    synchronizations++;
  }

  /**
   * How often {@link #synchronize} was called. When the number grows, earlier work has finished and
   * no longer uses its memory.
   */
  long synchronizations() {
    return synchronizations;
  }

  @Override
  void release() {
    driver().destroyStream(handle);
  }
}
