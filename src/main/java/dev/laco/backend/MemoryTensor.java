package dev.laco.backend;

import dev.laco.model.DType;
import dev.laco.model.HostTensor;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Locale;

/**
 * A tensor in the memory of this process, outside the Java heap, little-endian. Its address need
 * not be a multiple of its element size: the weights of a mapped file begin where the header of the
 * file ends.
 *
 * @param data exactly {@code rows * columns * dtype.byteSize()} bytes
 */
public record MemoryTensor(DType dtype, long rows, long columns, MemorySegment data)
    implements Tensor {
  public MemoryTensor {
    long bytes = byteSize(dtype, rows, columns);
    if (data.byteSize() != bytes || !data.isNative()) {
      throw new IllegalArgumentException(
          String.format(
              Locale.ROOT,
              "%s [%d, %d] needs %d bytes off the heap, not %d",
              dtype,
              rows,
              columns,
              bytes,
              data.byteSize()));
    }
  }

  /** A tensor on the same bytes as {@code tensor}, as a matrix. */
  public static MemoryTensor of(HostTensor tensor) {
    return new MemoryTensor(tensor.dtype(), tensor.rows(), tensor.columns(), tensor.data());
  }

  /**
   * The same tensor as a {@code MemoryTensor}, which every tensor of a backend in host memory is.
   *
   * @throws IllegalArgumentException if another backend made the tensor
   */
  public static MemoryTensor of(Tensor tensor) {
    if (tensor instanceof MemoryTensor memory) {
      return memory;
    }
    throw new IllegalArgumentException(
        "a " + tensor.getClass().getSimpleName() + " belongs to another backend");
  }

  /** Bytes of a tensor of these extents, each at least 1. */
  public static long byteSize(DType dtype, long rows, long columns) {
    if (rows < 1 || columns < 1) {
      throw new IllegalArgumentException("extents must be positive: " + rows + " x " + columns);
    }
    return Math.multiplyExact(Math.multiplyExact(rows, columns), (long) dtype.byteSize());
  }

  @Override
  public MemoryTensor slice(long from, long to) {
    if (from < 0 || to <= from || to > rows) {
      throw new IllegalArgumentException("rows " + from + " to " + to + " of " + rows);
    }
    long rowBytes = columns * dtype.byteSize();
    return new MemoryTensor(
        dtype, to - from, columns, data.asSlice(from * rowBytes, (to - from) * rowBytes));
  }

  @Override
  public MemoryTensor reshape(long newRows, long newColumns) {
    return new MemoryTensor(dtype, newRows, newColumns, data);
  }

  @Override
  public MemoryTensor view(DType other, long newRows, long newColumns) {
    OpChecks.view(this, other, newRows, newColumns);
    long bytes = byteSize(other, newRows, newColumns);
    return new MemoryTensor(other, newRows, newColumns, data.asSlice(0, bytes));
  }

  /** Element {@code i} in row-major order, widened to f32. */
  public float get(long i) {
    return switch (dtype) {
      case F32 -> data.get(ValueLayout.JAVA_FLOAT_UNALIGNED, i * 4);
      case F16 -> Float.float16ToFloat(data.get(ValueLayout.JAVA_SHORT_UNALIGNED, i * 2));
      case BF16 -> DType.bf16ToFloat(data.get(ValueLayout.JAVA_SHORT_UNALIGNED, i * 2));
    };
  }

  /** Row {@code r}, widened to f32. */
  public float[] row(long r) {
    MemorySegment bytes = slice(r, r + 1).data;
    if (dtype == DType.F32) {
      return bytes.toArray(ValueLayout.JAVA_FLOAT_UNALIGNED);
    }
    short[] bits = bytes.toArray(ValueLayout.JAVA_SHORT_UNALIGNED);
    float[] values = new float[bits.length];
    for (int i = 0; i < bits.length; i++) {
      values[i] = dtype == DType.F16 ? Float.float16ToFloat(bits[i]) : DType.bf16ToFloat(bits[i]);
    }
    return values;
  }

  /** Sets element {@code i} in row-major order to {@code value}, rounded once to nearest even. */
  public void set(long i, double value) {
    switch (dtype) {
      case F32 -> data.set(ValueLayout.JAVA_FLOAT_UNALIGNED, i * 4, (float) value);
      case F16 -> data.set(ValueLayout.JAVA_SHORT_UNALIGNED, i * 2, DType.toF16(value));
      case BF16 -> data.set(ValueLayout.JAVA_SHORT_UNALIGNED, i * 2, DType.toBf16(value));
    }
  }
}
