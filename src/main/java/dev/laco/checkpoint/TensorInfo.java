package dev.laco.checkpoint;

import java.util.List;

/**
 * One row of a file's tensor table.
 *
 * @param name name in the file
 * @param type element type
 * @param shape extents, outermost first; empty for a scalar
 * @param offset first byte, counted from the start of the file
 * @param byteSize bytes, {@code elements * bits / 8}
 */
public record TensorInfo(
    String name, StoredType type, List<Long> shape, long offset, long byteSize) {
  public TensorInfo {
    shape = List.copyOf(shape);
  }

  /** Number of elements; 1 for a scalar. */
  public long elements() {
    return shape.stream().mapToLong(Long::longValue).reduce(1, Math::multiplyExact);
  }
}
