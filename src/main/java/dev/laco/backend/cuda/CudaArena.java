package dev.laco.backend.cuda;

import dev.laco.backend.MemoryTensor;
import dev.laco.backend.TensorArena;
import dev.laco.model.DType;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;

/** Allocates tensors in device memory. */
final class CudaArena implements TensorArena {
  private final CudaContext context;
  private final CudaStream stream;
  private final List<DeviceBuffer> buffers = new ArrayList<>();
  private boolean closed;

  /**
   * @param stream the stream on which tensors are filled with zeros
   */
  CudaArena(CudaContext context, CudaStream stream) {
    this.context = context;
    this.stream = stream;
  }

  @Override
  public CudaTensor allocate(DType dtype, long rows, long columns) {
    if (closed) {
      throw new IllegalStateException("the arena is closed");
    }
    long bytes = MemoryTensor.byteSize(dtype, rows, columns);
    DeviceBuffer buffer =
        new DeviceBuffer(
            context,
            bytes,
            String.format(Locale.ROOT, "%s [%d, %d]", dtype.shortName(), rows, columns));
    buffers.add(buffer);
    context.driver().zero(buffer.address(), bytes, stream.handle());
    return new CudaTensor(dtype, rows, columns, buffer, 0);
  }

  /** Frees all tensors. The driver waits until no kernel uses them any more. */
  @Override
  public void close() {
    if (!closed) {
      closed = true;
      buffers.forEach(DeviceBuffer::close);
    }
  }
}
