package dev.laco.text;

import dev.laco.BadInputException;
import dev.laco.InputFile;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.util.Locale;
import org.jspecify.annotations.Nullable;

/** Reads a UTF-8 file line by line: a file of any size, of which one line is in memory. */
public final class LineReader implements AutoCloseable {
  /** Most bytes of a line. */
  public static final int MAX_LINE = 2 << 20;

  private static final int BUFFER = 1 << 16;
  private static final String BYTE_ORDER_MARK = "\uFEFF";

  private final LineFile lines;
  private final FileChannel channel;
  private final ByteBuffer buffer = ByteBuffer.allocate(BUFFER).limit(0);
  private long number;

  /**
   * Opens a file.
   *
   * @throws BadInputException if the file is not regular, or cannot be read
   */
  public LineReader(LineFile lines) {
    this.lines = lines;
    this.channel = InputFile.open(lines.file());
  }

  /**
   * The next line that is not blank, without its end; null at the end of the file.
   *
   * @throws BadInputException if the line is too long or not UTF-8, or the file cannot be read
   */
  public @Nullable String next() {
    while (true) {
      String line = line();
      if (line == null || !line.isBlank()) {
        return line;
      }
    }
  }

  /** Names the line that was read last: {@code valid.jsonl: line 3}. */
  public String where() {
    return lines.where(number);
  }

  /** The error of a line, or of a row of several lines, that is too long. */
  public static BadInputException tooLong(String where) {
    return new BadInputException(
        String.format(Locale.ROOT, "%s has more than %,d bytes; shorten it", where, MAX_LINE));
  }

  /**
   * The next line, also a blank one, without its end; null at the end of the file. Throws the
   * errors of {@link #next}.
   */
  public @Nullable String line() {
    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    try {
      if (!fill()) {
        return null;
      }
      number++;
      while (fill()) {
        int begin = buffer.position();
        int end = begin;
        while (end < buffer.limit() && buffer.get(end) != '\n') {
          end++;
        }
        bytes.write(buffer.array(), begin, end - begin);
        if (bytes.size() > MAX_LINE) {
          throw tooLong(where());
        }
        if (end < buffer.limit()) {
          buffer.position(end + 1);
          break;
        }
        buffer.position(end);
      }
    } catch (IOException e) {
      throw InputFile.unreadable(lines.file(), e);
    }
    return decoded(ByteBuffer.wrap(bytes.toByteArray()), lines, number);
  }

  /** Reads on if the buffer is empty; false at the end of the file. */
  private boolean fill() throws IOException {
    if (buffer.hasRemaining()) {
      return true;
    }
    boolean more = channel.read(buffer.clear()) > 0;
    buffer.flip();
    return more;
  }

  /**
   * The text of a line, without a byte order mark at the beginning of the file and without the
   * carriage return of a line's end.
   */
  static String decoded(ByteBuffer bytes, LineFile lines, long number) {
    try {
      String text = StandardCharsets.UTF_8.newDecoder().decode(bytes).toString();
      String line =
          number == 1 && text.startsWith(BYTE_ORDER_MARK)
              ? text.substring(BYTE_ORDER_MARK.length())
              : text;
      return line.endsWith("\r") ? line.substring(0, line.length() - 1) : line;
    } catch (CharacterCodingException e) {
      throw new BadInputException(
          lines.where(number) + " is not UTF-8 text, convert the file to UTF-8", e);
    }
  }

  @Override
  public void close() {
    try {
      channel.close();
    } catch (IOException e) {
      throw InputFile.unreadable(lines.file(), e);
    }
  }
}
