package dev.laco.backend.cuda;

import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;

/**
 * Device buffers for batches. A buffer that is given back is used for a later batch, since
 * generation makes a batch for each token. A buffer may be given back while kernels still read it:
 * the next batch is copied on the same stream, after those kernels.
 */
final class BatchMemory {
  /**
   * Buffers are multiples of this size, so that a generation finds a buffer for its next, slightly
   * larger batch.
   */
  private static final long GRANULARITY = 1L << 16;

  private final CudaContext context;
  private final Staging staging;
  private final CudaStream stream;
  private final List<DeviceBuffer> idle = new ArrayList<>();

  BatchMemory(CudaContext context, Staging staging, CudaStream stream) {
    this.context = context;
    this.staging = staging;
    this.stream = stream;
  }

  /** A buffer of at least {@code bytes}. */
  DeviceBuffer take(long bytes) {
    for (DeviceBuffer buffer : idle) {
      if (buffer.bytes() >= bytes) {
        idle.remove(buffer);
        return buffer;
      }
    }
    long rounded = Math.ceilDiv(bytes, GRANULARITY) * GRANULARITY;
    return new DeviceBuffer(context, rounded, "a batch of tokens");
  }

  void upload(MemorySegment data, DeviceBuffer buffer) {
    staging.upload(data, buffer.address(), stream);
  }

  void giveBack(DeviceBuffer buffer) {
    idle.add(buffer);
  }
}
