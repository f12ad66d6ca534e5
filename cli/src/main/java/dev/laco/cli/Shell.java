package dev.laco.cli;

import java.nio.file.Path;
import java.util.regex.Pattern;

/** Words of commands that people are to copy. */
final class Shell {
  private static final Pattern PLAIN = Pattern.compile("[\\w./+,:@%=~-]+");

  private Shell() {}

  /** A path as one word of a shell's command line. */
  static String quoted(Path path) {
    String text = path.toString();
    return PLAIN.matcher(text).matches() ? text : "'" + text.replace("'", "'\\''") + "'";
  }
}
