package dev.laco.text;

import dev.laco.InputFile;
import java.io.IOException;
import java.io.InputStream;
import java.nio.channels.Channels;
import java.nio.file.Path;
import java.util.Locale;
import java.util.function.LongFunction;

/**
 * A UTF-8 file of lines, and what a line of it is called in messages.
 *
 * @param file the file
 * @param where the name of a line by its number in the file, from 1, blank lines counted
 */
public record LineFile(Path file, LongFunction<String> where) {
  private static final int BUFFER = 1 << 16;

  /** A file whose lines are called by its path and their numbers. */
  public static LineFile of(Path file) {
    return new LineFile(file, number -> String.format(Locale.ROOT, "%s: line %d", file, number));
  }

  /**
   * The number of its lines, blank ones counted.
   *
   * @throws dev.laco.BadInputException if the file is not regular, or cannot be read
   */
  public long count() {
    try (InputStream in = Channels.newInputStream(InputFile.open(file))) {
      byte[] buffer = new byte[BUFFER];
      long count = 0;
      byte last = '\n';
      for (int read = in.read(buffer); read > 0; read = in.read(buffer)) {
        for (int i = 0; i < read; i++) {
          count += buffer[i] == '\n' ? 1 : 0;
        }
        last = buffer[read - 1];
      }
      return last == '\n' ? count : count + 1;
    } catch (IOException e) {
      throw InputFile.unreadable(file, e);
    }
  }

  String where(long number) {
    return where.apply(number);
  }
}
