package dev.laco.checkpoint.table;

import dev.laco.model.DType;
import dev.laco.model.ElementType;
import java.lang.foreign.MemorySegment;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * One row of a file's tensor table.
 *
 * @param name name in the file
 * @param type element type
 * @param shape extents, outermost first; empty for a scalar
 * @param offset first byte, counted from the start of the file
 * @param byteSize bytes in the file
 * @param decoder computes the weight from the bytes in the file; null where they are the weight
 */
public record TensorInfo(
    String name,
    ElementType type,
    List<Long> shape,
    long offset,
    long byteSize,
    @Nullable Decoder decoder) {
  public TensorInfo {
    shape = List.copyOf(shape);
  }

  /** A row of a tensor whose bytes in the file are the weight. */
  public TensorInfo(String name, ElementType type, List<Long> shape, long offset, long byteSize) {
    this(name, type, shape, offset, byteSize, null);
  }

  /** Computes a weight from bytes of a file. */
  @FunctionalInterface
  public interface Decoder {
    /**
     * Fills the weight.
     *
     * @param stored the tensor's bytes in the file
     * @param weight gets the elements, row-major and little-endian, of the type's {@link
     *     ElementType#dtype}
     */
    void decode(MemorySegment stored, MemorySegment weight);

    /**
     * Checks what is needed beside the tensor's bytes, such as scales.
     *
     * @throws dev.laco.BadInputException if it is missing or wrong
     */
    default void check() {}
  }

  /** Bytes of the weight in memory; of a tensor that is no weight, those in the file. */
  public long weightBytes() {
    DType dtype = type.dtype();
    return decoder == null || dtype == null
        ? byteSize
        : Math.multiplyExact(elements(), (long) dtype.byteSize());
  }

  /** Number of elements; 1 for a scalar. */
  public long elements() {
    return shape.stream().mapToLong(Long::longValue).reduce(1, Math::multiplyExact);
  }
}
