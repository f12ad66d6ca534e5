package dev.laco.backend.cuda;

import dev.laco.backend.MemoryTensor;
import dev.laco.backend.TensorArena;
import dev.laco.model.DType;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;

/** Allocates tensors in device memory, which are filled with zeros on the context's stream. */
final class CudaArena implements TensorArena {
  private final CudaContext context;
  private final List<DeviceBuffer> buffers = new ArrayList<>();
  private boolean closed;

  CudaArena(CudaContext context) {
    this.context = context;
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
    context.driver().zero(buffer.address(), bytes, context.stream().handle());
    return new CudaTensor(dtype, rows, columns, buffer, 0);
  }

  /** Frees all tensors; work that is queued may still use them. */
  @Override
  public void close() {
    if (!closed) {
      closed = true;
      buffers.forEach(DeviceBuffer::close);
    }
  }
}
