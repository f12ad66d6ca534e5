package dev.laco.checkpoint;

import dev.laco.model.ElementType;
import java.util.List;

/**
 * One row of a file's tensor table.
 *
 * @param name name in the file
 * @param type element type
 * @param shape extents, outermost first; empty for a scalar
 * @param offset first byte, counted from the start of the file
 * @param byteSize bytes in the file
 */
public record TensorInfo(
    String name, ElementType type, List<Long> shape, long offset, long byteSize) {
  public TensorInfo {
    shape = List.copyOf(shape);
  }

  /** Number of elements; 1 for a scalar. */
  public long elements() {
    return shape.stream().mapToLong(Long::longValue).reduce(1, Math::multiplyExact);
  }
}
