package dev.laco.cli;

import com.fasterxml.jackson.databind.JsonNode;
import dev.laco.Legible;
import java.io.PrintWriter;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;

/**
 * Where lines go: results to stdout, progress and warnings to stderr. With {@code --json} stdout is
 * one JSON document and the lines for people go to stderr. Nothing that is printed here steers a
 * terminal: lines may hold names from files, and a model may say anything.
 */
final class Console {
  private static final boolean STDERR_IS_TERMINAL = Boolean.getBoolean("laco.stderr.terminal");
  private static final boolean STDOUT_IS_TERMINAL = Boolean.getBoolean("laco.stdout.terminal");

  /** What a command was asked for cannot be written: there is no use in going on. */
  static final class Unwritable extends RuntimeException {
    private static final long serialVersionUID = 1L;
  }

  private final PrintWriter out;
  private final PrintWriter err;
  private final boolean quiet;
  private final boolean json;
  private final List<String> warnings = new ArrayList<>();

  Console(PrintWriter out, PrintWriter err, boolean quiet, boolean json) {
    this.out = out;
    this.err = err;
    this.quiet = quiet;
    this.json = json;
  }

  /** A line for people, {@code label} in a column of its own. */
  void line(String label, String format, Object... arguments) {
    plain(labelled(label, format, arguments));
  }

  /** The same for a line that a command was asked for; {@code --quiet} does not hold it back. */
  void resultLine(String label, String format, Object... arguments) {
    if (json) {
      line(label, format, arguments);
    } else {
      printLine(labelled(label, format, arguments));
    }
  }

  private static String labelled(String label, String format, Object... arguments) {
    return String.format(Locale.ROOT, "%-12s ", label)
        + String.format(Locale.ROOT, format, arguments);
  }

  /** A line for people. */
  void plain(String text) {
    if (json) {
      if (!quiet) {
        err.println(Legible.line(text));
      }
      return;
    }
    if (!quiet) {
      printLine(text);
    }
  }

  private void printLine(String text) {
    out.println(Legible.line(text));
    out.flush();
  }

  /** A line beside the result, on stderr. */
  void note(String label, String text) {
    if (!quiet) {
      err.println(Legible.line(String.format(Locale.ROOT, "%-12s %s", label, text)));
    }
  }

  /** Lines that a command was asked for; {@code --quiet} does not hold them back. */
  void result(String lines) {
    print(Legible.lines(lines));
  }

  /** What a model says: to a file or another program as it is. */
  void said(String text) {
    print(STDOUT_IS_TERMINAL ? Legible.lines(text) : text);
  }

  /** The JSON document of {@code --json}. */
  void document(JsonNode node) {
    // What is escaped can only stand in strings, where JSON has the same escapes.
    print(Legible.lines(node.toPrettyString()) + System.lineSeparator());
  }

  private void print(String text) {
    out.print(text);
    if (out.checkError()) {
      throw new Unwritable();
    }
  }

  /** All warnings so far. */
  List<String> warnings() {
    return List.copyOf(warnings);
  }

  /** Why a command ends without what it was asked for; one line. */
  void error(String text) {
    err.println("laco: " + Legible.line(text));
  }

  /** What a user should know, on stderr and in the report. */
  void warning(String text) {
    warnings.add(text);
    err.println("laco: warning: " + Legible.line(text));
  }

  /** Progress with ETA on stderr, drawn only where that is a terminal. */
  ProgressLine progress(String task) {
    return new ProgressLine(task, !quiet && STDERR_IS_TERMINAL);
  }
}
