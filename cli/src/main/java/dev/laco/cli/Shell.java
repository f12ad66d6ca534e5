package dev.laco.cli;

import java.nio.file.Path;
import java.util.regex.Pattern;

/** Words of commands that people are to copy. */
final class Shell {
  private static final Pattern PLAIN = Pattern.compile("[\\w./+,:@%=~-]+");

  private Shell() {}

  /** A path as one word of a shell's command line. */
  static String quoted(Path path) {
    return quoted(path.toString());
  }

  /** A text as one word of a shell's command line. */
  static String quoted(String text) {
    return PLAIN.matcher(text).matches() ? text : "'" + text.replace("'", "'\\''") + "'";
  }
}
