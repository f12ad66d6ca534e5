package dev.laco.text;

import dev.laco.BadInputException;
import dev.laco.InputFile;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.util.Arrays;

/**
 * The lines of a UTF-8 file that are not blank, by their number: where each line begins is in
 * memory, the lines are read when they are asked for.
 */
public final class LineIndex {
  private static final int BUFFER = 1 << 16;

  private final LineFile lines;
  private long[] begins = new long[64];
  private long[] ends = new long[64];
  private int[] numbers = new int[64];
  private int count;

  /**
   * Finds the lines of a file.
   *
   * @throws BadInputException if the file is not regular, or cannot be read
   */
  public LineIndex(LineFile lines) {
    this.lines = lines;
    try (FileChannel channel = InputFile.open(lines.file())) {
      index(channel);
    } catch (IOException e) {
      throw InputFile.unreadable(lines.file(), e);
    }
  }

  private void index(FileChannel channel) throws IOException {
    ByteBuffer buffer = ByteBuffer.allocate(BUFFER);
    long place = 0;
    long begin = 0;
    int number = 1;
    boolean blank = true;
    while (channel.read(buffer.clear(), place) > 0) {
      buffer.flip();
      for (int i = 0; i < buffer.limit(); i++) {
        byte next = buffer.get(i);
        if (next == '\n') {
          add(begin, place + i, number++, blank);
          begin = place + i + 1;
          blank = true;
        } else {
          // White space in ASCII; bytes of other characters are negative.
          blank &= next >= 0 && next <= ' ';
        }
      }
      place += buffer.limit();
    }
    add(begin, place, number, blank);
  }

  private void add(long begin, long end, int number, boolean blank) {
    if (!blank) {
      if (count == begins.length) {
        begins = Arrays.copyOf(begins, 2 * count);
        ends = Arrays.copyOf(ends, 2 * count);
        numbers = Arrays.copyOf(numbers, 2 * count);
      }
      begins[count] = begin;
      numbers[count] = number;
      ends[count++] = end;
    }
  }

  /** Number of lines. */
  public int count() {
    return count;
  }

  /** Names a line in messages: by its number in the file, from 1, blank lines counted. */
  public String where(int line) {
    return lines.where(numbers[line]);
  }

  /**
   * A line without its end.
   *
   * @throws BadInputException if the line is too long or not UTF-8, or the file cannot be read
   */
  public String line(int line) {
    long length = ends[line] - begins[line];
    if (length > LineReader.MAX_LINE) {
      throw LineReader.tooLong(where(line));
    }
    ByteBuffer bytes = ByteBuffer.allocate((int) length);
    try (FileChannel channel = InputFile.open(lines.file())) {
      while (bytes.hasRemaining() && channel.read(bytes, begins[line] + bytes.position()) > 0) {}
    } catch (IOException e) {
      throw InputFile.unreadable(lines.file(), e);
    }
    return LineReader.decoded(bytes.flip(), lines, numbers[line]);
  }
}
