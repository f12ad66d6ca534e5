package dev.laco.checkpoint;

import static java.nio.charset.StandardCharsets.UTF_8;

import com.fasterxml.jackson.databind.node.TextNode;
import dev.laco.ResourceException;
import dev.laco.checkpoint.table.StoredType;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.file.Path;
import java.util.Comparator;
import java.util.List;
import java.util.Locale;
import java.util.function.LongConsumer;

/**
 * Writes a safetensors file, byte for byte as the library of the format does
 * (github.com/huggingface/safetensors): tensors sorted by element type, the widest first, then by
 * name; compact JSON; the header padded with spaces to a multiple of eight bytes.
 */
public final class SafetensorsWriter {
  private static final String METADATA = "{\"__metadata__\":{\"format\":\"pt\"}";

  private final List<OutputTensor> tensors;
  private final ByteBuffer header;

  /** Lays out a file of these tensors, whose order does not matter. */
  public SafetensorsWriter(List<OutputTensor> tensors) {
    this.tensors =
        tensors.stream()
            .sorted(
                Comparator.comparing(
                        (OutputTensor tensor) -> StoredType.of(tensor.dtype()),
                        Comparator.reverseOrder())
                    .thenComparing(OutputTensor::name))
            .toList();
    this.header = header(this.tensors);
  }

  private static ByteBuffer header(List<OutputTensor> sorted) {
    StringBuilder json = new StringBuilder(METADATA);
    long offset = 0;
    for (OutputTensor tensor : sorted) {
      long end = Math.addExact(offset, tensor.byteSize());
      json.append(entry(tensor, offset, end));
      offset = end;
    }
    byte[] bytes = json.append('}').toString().getBytes(UTF_8);
    int padded = Math.ceilDiv(bytes.length, Long.BYTES) * Long.BYTES;
    ByteBuffer header = ByteBuffer.allocate(Long.BYTES + padded).order(ByteOrder.LITTLE_ENDIAN);
    header.putLong(padded).put(bytes);
    while (header.hasRemaining()) {
      header.put((byte) ' ');
    }
    return header.flip();
  }

  private static String entry(OutputTensor tensor, long begin, long end) {
    return String.format(
        Locale.ROOT,
        ",%s:{\"dtype\":\"%s\",\"shape\":%s,\"data_offsets\":[%d,%d]}",
        TextNode.valueOf(tensor.name()),
        StoredType.of(tensor.dtype()),
        tensor.shape().toString().replace(" ", ""),
        begin,
        end);
  }

  /** The most bytes that a tensor can add to a file, its entry in the header included. */
  static long mostBytes(OutputTensor tensor) {
    return tensor.byteSize() + entry(tensor, Long.MAX_VALUE, Long.MAX_VALUE).getBytes(UTF_8).length;
  }

  /** The most bytes that a file has beside its tensors' {@link #mostBytes}. */
  static long mostOverhead() {
    return (long) Long.BYTES + METADATA.length() + 1 + Long.BYTES;
  }

  /** The bytes of the file before the first tensor. */
  public ByteBuffer header() {
    return header.asReadOnlyBuffer();
  }

  /** The tensors, in the order of their bytes. */
  public List<OutputTensor> tensors() {
    return tensors;
  }

  /** Bytes of the file. */
  public long fileSize() {
    return header.limit() + tensors.stream().mapToLong(OutputTensor::byteSize).sum();
  }

  /**
   * Writes the file, which must not exist, and forces it to the disk.
   *
   * @param progress told after each tensor how many bytes it had
   * @throws ResourceException if the disk is full or cannot be written
   */
  public void write(Path file, LongConsumer progress) {
    try (FileChannel channel = OutputFiles.create(file)) {
      ByteBuffer bytes = header.duplicate();
      while (bytes.hasRemaining()) {
        channel.write(bytes);
      }
      for (OutputTensor tensor : tensors) {
        long end = channel.position() + tensor.byteSize();
        tensor.content().writeTo(channel);
        if (channel.position() != end) {
          throw new IllegalStateException(
              String.format(
                  Locale.ROOT,
                  "%s wrote to byte %d, not %d",
                  tensor.name(),
                  channel.position(),
                  end));
        }
        progress.accept(tensor.byteSize());
      }
      channel.force(true);
    } catch (IOException e) {
      throw OutputFiles.cannotWrite(file, e);
    }
  }
}
