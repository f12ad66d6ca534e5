package dev.laco.backend.cuda;

/** Work that the device does in order. */
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

  /** Lets later work wait for the event. */
  void await(CudaEvent event) {
    driver().await(handle(), event.handle());
  }

  /** Waits until all its work is done. */
  void synchronize() {
    driver().synchronize(handle());
    synchronizations++;
  }

  /** How often it was waited for: memory that earlier work used is free again when this grows. */
  long synchronizations() {
    return synchronizations;
  }

  @Override
  void release() {
    driver().destroyStream(handle);
  }
}
