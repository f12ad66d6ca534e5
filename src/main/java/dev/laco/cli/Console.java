package dev.laco.cli;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.PrintWriter;
import java.util.Locale;

/**
 * Where lines go: results to stdout, progress and warnings to stderr. With {@code --json} stdout is
 * one JSON document and the lines for people go to stderr.
 */
final class Console {
  private static final boolean STDERR_IS_TERMINAL = Boolean.getBoolean("laco.stderr.terminal");

  private final PrintWriter out;
  private final PrintWriter err;
  private final boolean quiet;
  private final boolean json;

  Console(PrintWriter out, PrintWriter err, boolean quiet, boolean json) {
    this.out = out;
    this.err = err;
    this.quiet = quiet;
    this.json = json;
  }

  /** A line for people, {@code label} in a column of its own. */
  void line(String label, String format, Object... arguments) {
    plain(
        String.format(Locale.ROOT, "%-12s ", label)
            + String.format(Locale.ROOT, format, arguments));
  }

  /** The same for a line that a command was asked for; {@code --quiet} does not hold it back. */
  void resultLine(String label, String format, Object... arguments) {
    if (json) {
      line(label, format, arguments);
    } else {
      result(
          String.format(Locale.ROOT, "%-12s ", label)
              + String.format(Locale.ROOT, format, arguments)
              + System.lineSeparator());
    }
  }

  /** A line for people. */
  void plain(String text) {
    if (json) {
      if (!quiet) {
        err.println(text);
      }
      return;
    }
    if (!quiet) {
      out.println(text);
      out.flush();
    }
  }

  /** A line beside the result, on stderr. */
  void note(String label, String text) {
    if (!quiet) {
      err.println(String.format(Locale.ROOT, "%-12s %s", label, text));
    }
  }

  /** What a command was asked for; {@code --quiet} does not hold it back. */
  void result(String text) {
    out.print(text);
    out.flush();
  }

  /** The JSON document of {@code --json}. */
  void document(JsonNode node) {
    out.println(node.toPrettyString());
    out.flush();
  }

  /** Why a command ends without what it was asked for; one line. */
  void error(String text) {
    err.println("laco: " + text);
  }

  void warning(String text) {
    err.println("laco: warning: " + text);
  }

  /** Progress with ETA on stderr, drawn only where that is a terminal. */
  ProgressLine progress(String task) {
    return new ProgressLine(task, !quiet && STDERR_IS_TERMINAL);
  }
}
