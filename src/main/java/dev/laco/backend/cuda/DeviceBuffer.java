package dev.laco.backend.cuda;

/** A piece of device memory, and a count of how often it may have been written to. */
final class DeviceBuffer extends CudaObject {
  private final long address;
  private final long bytes;
  private long version;

  /**
   * Allocates memory with any content.
   *
   * @param purpose what the memory is for, for the error message
   * @throws dev.laco.ResourceException if there is too little memory; the message says how much is
   *     needed and free, and what helps
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

  /**
   * A new buffer on the same memory, for other content. This buffer and the tensors in it become
   * unusable.
   */
  DeviceBuffer handOver() {
    abandon();
    return new DeviceBuffer(context(), address, bytes);
  }

  /** Device address of the memory, a multiple of 256. */
  long address() {
    requireOpen();
    return address;
  }

  long bytes() {
    return bytes;
  }

  /**
   * How often {@link #toBeWritten} was called. While the number stays the same, so does the
   * content.
   */
  long version() {
    return version;
  }

  /** To be called before work is queued that writes to the memory. */
  void toBeWritten() {
    version++;
  }

  @Override
  void release() {
    driver().free(address);
  }
}
