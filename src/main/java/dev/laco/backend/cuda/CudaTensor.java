package dev.laco.backend.cuda;

import dev.laco.backend.MemoryTensor;
import dev.laco.backend.Tensor;
import dev.laco.model.DType;
import java.util.Locale;

/**
 * A tensor in device memory, aligned to its element.
 *
 * @param memory where it lies; unusable once its owner has closed it
 * @param offset of the first element, bytes
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

  /** {@code tensor} as what it must be on a CUDA device. */
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

  /** The device address for work that writes to the tensor. */
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
}
