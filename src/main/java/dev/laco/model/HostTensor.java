package dev.laco.model;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.SegmentAllocator;
import java.util.ArrayList;
import java.util.List;

/**
 * A named tensor in host memory, usually a view into a mapped file: contiguous, row-major,
 * little-endian, and not necessarily aligned to its element.
 *
 * @param name name in the checkpoint
 * @param dtype element type
 * @param shape extents, outermost first
 * @param data the bytes, exactly {@code elements * dtype.byteSize()} of them
 */
public record HostTensor(String name, DType dtype, List<Long> shape, MemorySegment data) {
  public HostTensor {
    shape = List.copyOf(shape);
  }

  /** Allocates a tensor, aligned for any element type. */
  public static HostTensor allocate(
      SegmentAllocator memory, String name, DType dtype, List<Long> shape) {
    long elements = shape.stream().reduce(1L, Math::multiplyExact);
    MemorySegment data = memory.allocate(elements * dtype.byteSize(), Long.BYTES);
    return new HostTensor(name, dtype, shape, data);
  }

  /** Rows {@code [from, to)}, or elements of a vector, as a tensor on the same memory. */
  public HostTensor rows(long from, long to) {
    List<Long> extents = new ArrayList<>(shape);
    extents.set(0, to - from);
    long row = data.byteSize() / shape.getFirst();
    return new HostTensor(name, dtype, extents, data.asSlice(from * row, (to - from) * row));
  }

  /** Columns of the tensor as a matrix: its last extent. */
  public long columns() {
    return shape.getLast();
  }

  /** Rows of the tensor as a matrix: the product of all extents but the last, 1 of a vector. */
  public long rows() {
    return shape.stream().limit(shape.size() - 1).reduce(1L, Math::multiplyExact);
  }

  /** Number of elements. */
  public long elements() {
    return data.byteSize() / dtype.byteSize();
  }
}
