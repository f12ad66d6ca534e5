package dev.laco.backend.cuda;

/** Device memory. */
final class DeviceBuffer extends CudaObject {
  private final long address;
  private final long bytes;
  private long version;

  /**
   * Memory with any content.
   *
   * @param purpose for the message where there is too little
   * @throws dev.laco.ResourceException that says needed, free and what helps
   */
  DeviceBuffer(CudaContext context, long bytes, String purpose) {
    super(context);
    this.bytes = bytes;
    try {
      this.address = driver().allocate(bytes);
    } catch (CudaException e) {
      throw context.explain(e, purpose, bytes);
    }
    opened();
  }

  private DeviceBuffer(CudaContext context, long address, long bytes) {
    super(context);
    this.address = address;
    this.bytes = bytes;
    opened();
  }

  /** The same memory for other content; tensors that lie in this buffer become unusable. */
  DeviceBuffer handOver() {
    abandon();
    return new DeviceBuffer(context(), address, bytes);
  }

  /** Where it starts, a multiple of 256. */
  long address() {
    requireOpen();
    return address;
  }

  long bytes() {
    return bytes;
  }

  /** How often {@link #toBeWritten} was called: as long as it is the same, so is the content. */
  long version() {
    return version;
  }

  /** Says that the content is about to change. */
  void toBeWritten() {
    version++;
  }

  @Override
  void release() {
    driver().free(address);
  }
}
