package dev.laco.checkpoint.export;

import static java.nio.charset.StandardCharsets.UTF_8;

import dev.laco.ResourceException;
import dev.laco.checkpoint.OutputFiles;
import dev.laco.checkpoint.OutputTensor;
import dev.laco.checkpoint.gguf.GgufHeader;
import dev.laco.checkpoint.gguf.GgufType;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.function.LongConsumer;

/** Writes a GGUF file of version 3, little-endian. */
final class GgufWriter {
  private static final int VERSION = 3;

  /** Numbers of the types of metadata. */
  private static final int UINT32 = 4;

  private static final int INT32 = 5;
  private static final int FLOAT32 = 6;
  private static final int BOOL = 7;
  private static final int STRING = 8;
  private static final int ARRAY = 9;

  /**
   * A tensor of the file.
   *
   * @param shape extents, outermost first
   * @param content writes the tensor's bytes
   */
  record Tensor(String name, GgufType type, List<Long> shape, OutputTensor.Content content) {
    Tensor {
      shape = List.copyOf(shape);
    }

    long byteSize() {
      long elements = shape.stream().mapToLong(Long::longValue).reduce(1, Math::multiplyExact);
      return Math.multiplyExact(elements / type.blockElements(), (long) type.blockBytes());
    }
  }

  private final Bytes metadata = new Bytes();
  private final List<Tensor> tensors = new ArrayList<>();
  private final long alignment;
  private long entries;

  /** A file with tensors at multiples of 32 bytes. */
  GgufWriter() {
    this(GgufHeader.DEFAULT_ALIGNMENT);
  }

  /** A file with tensors at multiples of so many bytes, which metadata must say. */
  GgufWriter(long alignment) {
    this.alignment = alignment;
  }

  /** Little-endian bytes in memory. */
  private static final class Bytes {
    private final ByteArrayOutputStream out = new ByteArrayOutputStream();

    void int32(int value) {
      out.writeBytes(little(Integer.BYTES).putInt(value).array());
    }

    void int64(long value) {
      out.writeBytes(little(Long.BYTES).putLong(value).array());
    }

    void string(String text) {
      byte[] utf8 = text.getBytes(UTF_8);
      int64(utf8.length);
      out.writeBytes(utf8);
    }

    private static ByteBuffer little(int size) {
      return ByteBuffer.allocate(size).order(ByteOrder.LITTLE_ENDIAN);
    }
  }

  private void key(String key, int type) {
    entries++;
    metadata.string(key);
    metadata.int32(type);
  }

  private void list(String key, int type, int count) {
    key(key, ARRAY);
    metadata.int32(type);
    metadata.int64(count);
  }

  void string(String key, String value) {
    key(key, STRING);
    metadata.string(value);
  }

  /** An unsigned number of 32 bits. */
  void number(String key, long value) {
    key(key, UINT32);
    metadata.int32((int) value);
  }

  void real(String key, double value) {
    key(key, FLOAT32);
    metadata.int32(Float.floatToIntBits((float) value));
  }

  void bool(String key, boolean value) {
    key(key, BOOL);
    metadata.out.write(value ? 1 : 0);
  }

  void strings(String key, List<String> values) {
    list(key, STRING, values.size());
    values.forEach(metadata::string);
  }

  void bools(String key, List<Boolean> values) {
    list(key, BOOL, values.size());
    values.forEach(value -> metadata.out.write(value ? 1 : 0));
  }

  /**
   * An entry as another file has it.
   *
   * @param value the type, and the value in the form that the format gives it
   */
  void entry(String key, byte[] value) {
    entries++;
    metadata.string(key);
    metadata.out.writeBytes(value);
  }

  void numbers(String key, List<Integer> values) {
    list(key, INT32, values.size());
    values.forEach(metadata::int32);
  }

  void reals(String key, List<Float> values) {
    list(key, FLOAT32, values.size());
    values.forEach(value -> metadata.int32(Float.floatToIntBits(value)));
  }

  void tensor(Tensor tensor) {
    tensors.add(tensor);
  }

  private long padded(long bytes) {
    return Math.ceilDiv(bytes, alignment) * alignment;
  }

  private byte[] header() {
    Bytes header = new Bytes();
    header.int32(GgufHeader.MAGIC);
    header.int32(VERSION);
    header.int64(tensors.size());
    header.int64(entries);
    header.out.writeBytes(metadata.out.toByteArray());
    long offset = 0;
    for (Tensor tensor : tensors) {
      header.string(tensor.name);
      header.int32(tensor.shape.size());
      tensor.shape.reversed().forEach(header::int64);
      header.int32(tensor.type.number());
      header.int64(offset);
      offset += padded(tensor.byteSize());
    }
    header.out.writeBytes(new byte[(int) (padded(header.out.size()) - header.out.size())]);
    return header.out.toByteArray();
  }

  /** Bytes of all tensors. */
  long tensorBytes() {
    return tensors.stream().mapToLong(Tensor::byteSize).sum();
  }

  /** Bytes of the file. */
  long fileBytes() {
    return header().length + tensors.stream().mapToLong(t -> padded(t.byteSize())).sum();
  }

  /**
   * Writes the file, which must not exist, and forces it to the disk.
   *
   * @param progress told after each tensor how many bytes it had
   * @throws ResourceException if the disk is full or cannot be written
   */
  void write(Path file, LongConsumer progress) {
    try (FileChannel channel = OutputFiles.create(file)) {
      writeAll(ByteBuffer.wrap(header()), channel);
      for (Tensor tensor : tensors) {
        long end = channel.position() + tensor.byteSize();
        tensor.content.writeTo(channel);
        if (channel.position() != end) {
          throw new IllegalStateException(
              String.format(
                  Locale.ROOT,
                  "%s wrote to byte %d, not %d",
                  tensor.name,
                  channel.position(),
                  end));
        }
        writeAll(ByteBuffer.allocate((int) (padded(end) - end)), channel);
        progress.accept(tensor.byteSize());
      }
      channel.force(true);
    } catch (IOException e) {
      throw OutputFiles.cannotWrite(file, e);
    }
  }

  private static void writeAll(ByteBuffer bytes, FileChannel channel) throws IOException {
    while (bytes.hasRemaining()) {
      channel.write(bytes);
    }
  }
}
