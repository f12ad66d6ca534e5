package dev.laco.backend.cuda;

import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;

/**
 * Device buffers of batches, used again: generation makes a batch per token. A buffer may be given
 * back while work that reads it is under way, since the next batch is copied in behind that work.
 */
final class BatchMemory {
  /** Room for a few tokens more than the batch that asks, such as the next one of a generation. */
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
