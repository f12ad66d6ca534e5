package dev.laco.text;

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
  /** A file whose lines are called by its path and their numbers. */
  public static LineFile of(Path file) {
    return new LineFile(file, number -> String.format(Locale.ROOT, "%s: line %d", file, number));
  }

  String where(long number) {
    return where.apply(number);
  }
}
