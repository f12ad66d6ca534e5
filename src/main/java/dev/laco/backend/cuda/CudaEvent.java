package dev.laco.backend.cuda;

/** A point in a stream's work. */
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

  /** Stands for all that the stream was given so far. */
  void record(CudaStream stream) {
    driver().record(handle(), stream.handle());
  }

  /** Waits until it is reached; an event that was never recorded is. */
  void synchronize() {
    driver().synchronizeEvent(handle());
  }

  @Override
  void release() {
    driver().destroyEvent(handle);
  }
}
