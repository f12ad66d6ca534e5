package dev.laco.backend.cuda;

/**
 * A thing of the driver's that its one owner closes. What is still open when its context closes,
 * because a constructor failed half-way, is closed by the context.
 */
abstract sealed class CudaObject implements AutoCloseable
    permits CudaEvent, CudaModule, CudaStream, DeviceBuffer, PinnedBuffer {
  private final CudaContext context;
  private boolean closed;

  CudaObject(CudaContext context) {
    this.context = context;
    context.enter();
  }

  /** To be called once the thing exists. */
  final void opened() {
    context.register(this);
  }

  final CudaContext context() {
    return context;
  }

  final CudaDriver driver() {
    return context.driver();
  }

  final void requireOpen() {
    if (closed) {
      throw new IllegalStateException("this " + getClass().getSimpleName() + " is closed");
    }
  }

  /** Makes this unusable without giving the thing back, which another owner has now. */
  final void abandon() {
    requireOpen();
    closed = true;
    context.unregister(this);
  }

  /** Gives the thing back to the driver. */
  abstract void release();

  /** Frees it; a second call does nothing. In a dead context the driver's answer does not count. */
  @Override
  public final void close() {
    if (closed) {
      return;
    }
    context.requireOwner();
    closed = true;
    context.unregister(this);
    try {
      context.enter();
      release();
    } catch (CudaException e) {
      if (!driver().isPoisoned()) {
        throw e;
      }
    }
  }
}
