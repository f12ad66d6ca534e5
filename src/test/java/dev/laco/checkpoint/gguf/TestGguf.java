package dev.laco.checkpoint.gguf;

import static java.nio.charset.StandardCharsets.UTF_8;

import dev.laco.Fixtures;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Path;
import java.util.Arrays;

/** GGUF files made by hand, number by number. */
public final class TestGguf {
  /** Every type of element and of metadata, as gguf-py writes them. */
  public static final Path TYPES = Fixtures.RESOURCES.resolve("gguf/types.gguf");

  private final ByteBuffer bytes = ByteBuffer.allocate(4096).order(ByteOrder.LITTLE_ENDIAN);

  /** A file of version 3 with these counts; entries and tensors follow. */
  public static TestGguf file(long tensors, long entries) {
    return new TestGguf().int32(GgufHeader.MAGIC).int32(3).int64(tensors).int64(entries);
  }

  public TestGguf int8(int value) {
    bytes.put((byte) value);
    return this;
  }

  public TestGguf int32(int value) {
    bytes.putInt(value);
    return this;
  }

  public TestGguf int64(long value) {
    bytes.putLong(value);
    return this;
  }

  public TestGguf string(String text) {
    byte[] utf8 = text.getBytes(UTF_8);
    int64(utf8.length);
    bytes.put(utf8);
    return this;
  }

  /** A row of the tensor table; extents with the innermost first, as in the file. */
  public TestGguf tensor(String name, int type, long offset, long... extents) {
    string(name).int32(extents.length);
    for (long extent : extents) {
      int64(extent);
    }
    return int32(type).int64(offset);
  }

  /** The file, filled up to a multiple of 32 bytes, and so many bytes of data. */
  public byte[] data(int count) {
    int header = Math.ceilDiv(bytes.position(), 32) * 32;
    return Arrays.copyOf(bytes.array(), header + count);
  }
}
