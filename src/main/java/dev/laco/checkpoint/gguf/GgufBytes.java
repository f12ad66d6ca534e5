package dev.laco.checkpoint.gguf;

import dev.laco.BadInputException;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.Locale;

/** Reads values of a mapped file one after the other. No read goes beyond the end of the file. */
final class GgufBytes {
  private static final ValueLayout.OfShort SHORT =
      ValueLayout.JAVA_SHORT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
  private static final ValueLayout.OfInt INT =
      ValueLayout.JAVA_INT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
  private static final ValueLayout.OfLong LONG =
      ValueLayout.JAVA_LONG_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

  private final Path file;
  private final MemorySegment bytes;
  private long position;

  GgufBytes(Path file, MemorySegment bytes, long position) {
    this.file = file;
    this.bytes = bytes;
    this.position = position;
  }

  /** The byte that is read next. */
  long position() {
    return position;
  }

  /**
   * Goes on by so many bytes, and returns where they begin.
   *
   * @param what the value that the bytes are, for the message
   * @param count as an unsigned number
   * @throws BadInputException if the file has fewer bytes
   */
  private long take(String what, long count) {
    if (count < 0 || count > bytes.byteSize() - position) {
      throw bad(
          String.format(
              Locale.ROOT,
              "%s at byte %d takes %s bytes, but the file has %d; the file is truncated or damaged",
              what,
              position,
              Long.toUnsignedString(count),
              bytes.byteSize()));
    }
    long begin = position;
    position += count;
    return begin;
  }

  byte int8(String what) {
    return bytes.get(ValueLayout.JAVA_BYTE, take(what, Byte.BYTES));
  }

  short int16(String what) {
    return bytes.get(SHORT, take(what, Short.BYTES));
  }

  int int32(String what) {
    return bytes.get(INT, take(what, Integer.BYTES));
  }

  long int64(String what) {
    return bytes.get(LONG, take(what, Long.BYTES));
  }

  /**
   * A text: its length in bytes, then UTF-8.
   *
   * @param most the most bytes that the text may have
   * @throws BadInputException if the text is longer, or no UTF-8
   */
  String string(String what, int most) {
    long length = int64(what);
    if (length < 0 || length > most) {
      throw bad(
          String.format(
              Locale.ROOT,
              "%s has %s bytes, at most %d are read",
              what,
              Long.toUnsignedString(length),
              most));
    }
    byte[] text = new byte[(int) length];
    long begin = take(what, length);
    MemorySegment.copy(bytes, ValueLayout.JAVA_BYTE, begin, text, 0, text.length);
    try {
      return StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(text)).toString();
    } catch (CharacterCodingException e) {
      throw new BadInputException(file + ": " + what + " is not valid UTF-8", e);
    }
  }

  /** Goes past a text. */
  void skipString(String what) {
    take(what, int64(what));
  }

  /** Goes past {@code count} values of {@code size} bytes; {@code count} is at most 2^32. */
  void skip(String what, long count, int size) {
    take(what, count * size);
  }

  BadInputException bad(String rule) {
    return new BadInputException(file + ": " + rule);
  }
}
