package dev.laco.checkpoint;

import dev.laco.checkpoint.table.TensorInfo;
import dev.laco.model.DType;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.util.List;

/**
 * A tensor of a file that will be written.
 *
 * @param name name in the new file
 * @param dtype element type
 * @param shape extents, outermost first
 * @param content writes the tensor's bytes
 */
public record OutputTensor(String name, DType dtype, List<Long> shape, Content content) {
  public OutputTensor {
    shape = List.copyOf(shape);
  }

  /** Writes the bytes of a tensor. */
  @FunctionalInterface
  public interface Content {
    /**
     * Writes exactly the tensor's bytes, row-major and little-endian, at the channel's position.
     *
     * @throws IOException if the channel cannot be written
     */
    void writeTo(FileChannel target) throws IOException;
  }

  /** A copy of another file's tensor under a new name; its bytes are copied from file to file. */
  public static OutputTensor copy(String name, WeightFile file, String source) {
    TensorInfo info = file.info(source);
    return new OutputTensor(
        name, file.requireWeight(info), info.shape(), target -> file.copyTo(source, target));
  }

  /** A tensor in memory. */
  public static OutputTensor of(String name, DType dtype, List<Long> shape, MemorySegment data) {
    return new OutputTensor(name, dtype, shape, target -> write(data, target));
  }

  /** Writes a segment of any size. */
  public static void write(MemorySegment data, FileChannel target) throws IOException {
    long most = 1L << 30;
    for (long offset = 0; offset < data.byteSize(); offset += most) {
      long length = Math.min(most, data.byteSize() - offset);
      ByteBuffer bytes = data.asSlice(offset, length).asByteBuffer();
      while (bytes.hasRemaining()) {
        target.write(bytes);
      }
    }
  }

  /** Bytes of the tensor. */
  public long byteSize() {
    return shape.stream().mapToLong(Long::longValue).reduce(1, Math::multiplyExact)
        * dtype.byteSize();
  }
}
