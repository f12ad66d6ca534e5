package dev.laco.backend.cuda;

/** A piece of device memory, and a count of how often it may have been written to. */
final class DeviceBuffer extends CudaObject {
  private final MemoryBlocks.Block block;
  private long version;

  /**
   * Takes memory with any content. Work on the context's stream may use it at once; another stream
   * must {@link #awaitVacancy wait} first.
   *
   * @param purpose what the memory is for, for the error message
   * @throws dev.laco.ResourceException if there is too little memory; the message says how much is
   *     needed and free, and what helps
   */
  DeviceBuffer(CudaContext context, long bytes, String purpose) {
    super(context);
    this.block = context.memory().take(bytes, purpose);
    opened();
  }

  /** Device address of the memory, a multiple of 256. */
  long address() {
    requireOpen();
    return block.address();
  }

  long bytes() {
    return block.bytes();
  }

  /**
   * Makes later work of a stream that is not the context's wait until nothing uses the memory any
   * more as a part of an earlier buffer.
   */
  void awaitVacancy(CudaStream stream) {
    driver().await(stream.handle(), block.vacated());
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
    context().memory().giveBack(block);
  }
}
