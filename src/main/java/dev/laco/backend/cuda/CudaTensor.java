package dev.laco.backend.cuda;

import dev.laco.backend.MemoryTensor;
import dev.laco.backend.OpChecks;
import dev.laco.backend.Tensor;
import dev.laco.model.DType;
import java.util.Locale;

/**
 * A tensor in device memory, whose address is a multiple of its element size.
 *
 * @param memory the buffer that holds the tensor; the tensor is unusable once the buffer is closed
 * @param offset bytes from the beginning of the buffer to the first element
 */
record CudaTensor(DType dtype, long rows, long columns, DeviceBuffer memory, long offset)
    implements Tensor {
  CudaTensor {
    long bytes = MemoryTensor.byteSize(dtype, rows, columns);
    if (offset < 0 || offset + bytes > memory.bytes()) {
      throw new IllegalArgumentException(
          String.format(
              Locale.ROOT,
              "%s [%d, %d] at %d is beyond %d bytes",
              dtype,
              rows,
              columns,
              offset,
              memory.bytes()));
    }
  }

  /**
   * The same tensor as a {@code CudaTensor}, which every tensor with memory of this backend is.
   *
   * @throws IllegalArgumentException if another backend made the tensor, or it has no memory
   */
  static CudaTensor of(Tensor tensor) {
    if (tensor instanceof CudaTensor cuda) {
      return cuda;
    }
    throw new IllegalArgumentException(
        "a " + tensor.getClass().getSimpleName() + " belongs to another backend");
  }

  /** The device address for work that reads the tensor. */
  long input() {
    return memory.address() + offset;
  }

  /**
   * The device address for work that writes to the tensor; whatever was derived from its content is
   * no longer used.
   */
  long output() {
    memory.toBeWritten();
    return memory.address() + offset;
  }

  long bytes() {
    return elements() * dtype.byteSize();
  }

  @Override
  public CudaTensor slice(long from, long to) {
    if (from < 0 || to <= from || to > rows) {
      throw new IllegalArgumentException("rows " + from + " to " + to + " of " + rows);
    }
    return new CudaTensor(
        dtype, to - from, columns, memory, offset + from * columns * dtype.byteSize());
  }

  @Override
  public CudaTensor reshape(long newRows, long newColumns) {
    if (newRows * newColumns != elements()) {
      throw new IllegalArgumentException(
          String.format(
              Locale.ROOT,
              "[%d, %d] has not the elements of [%d, %d]",
              newRows,
              newColumns,
              rows,
              columns));
    }
    return new CudaTensor(dtype, newRows, newColumns, memory, offset);
  }

  @Override
  public CudaTensor view(DType other, long newRows, long newColumns) {
    OpChecks.view(this, other, newRows, newColumns);
    return new CudaTensor(other, newRows, newColumns, memory, offset);
  }
}
