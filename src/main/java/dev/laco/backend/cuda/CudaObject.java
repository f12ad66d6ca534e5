package dev.laco.backend.cuda;

/**
 * A resource of the driver with one owner, which closes it. The context closes resources that are
 * still open when it is closed itself, for instance after a constructor has failed half-way.
 */
abstract sealed class CudaObject implements AutoCloseable
    permits CudaEvent, CudaModule, CudaStream, DeviceBuffer, PinnedBuffer {
  private final CudaContext context;
  private boolean closed;

  CudaObject(CudaContext context) {
    this.context = context;
    context.enter();
  }

  /**
   * Registers the resource with the context; to be called by the constructor once the driver has
   * made the resource.
   */
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

  /** Gives the resource back to the driver. */
  abstract void release();

  /**
   * Frees the resource; a second call does nothing. Errors are ignored in a context that cannot be
   * used any more.
   */
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
