package dev.laco.cli;

import com.fasterxml.jackson.databind.JsonNode;
import dev.laco.JobProgress;
import dev.laco.Legible;
import java.io.PrintWriter;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.function.LongSupplier;
import org.jspecify.annotations.Nullable;

/**
 * Where lines go: results to stdout, progress and warnings to stderr. With {@code --json} stdout is
 * one JSON document and the lines for people go to stderr. Nothing that is printed here steers a
 * terminal: lines may hold names from files, and a model may say anything.
 *
 * <p>While a stage of the job goes on, a thread of its own shows how far the job has come: on a
 * terminal in a last line that is drawn again and again, else by a line from time to time.
 */
final class Console {
  private static final boolean STDOUT_IS_TERMINAL = Boolean.getBoolean("laco.stdout.terminal");

  /** What a command was asked for cannot be written: there is no use in going on. */
  static final class Unwritable extends RuntimeException {
    private static final long serialVersionUID = 1L;
  }

  /** How often the bar on a terminal is redrawn. */
  private static final Duration REDRAW = Duration.ofMillis(500);

  /** From one line of progress to the next where there is no terminal. */
  private static final Duration BETWEEN_LINES = Duration.ofSeconds(30);

  private final PrintWriter out;
  private final PrintWriter err;
  private final boolean quiet;
  private final boolean json;
  private final List<String> warnings = new ArrayList<>();
  private String device = "";
  private final Terminal terminal;
  private final LongSupplier clock;
  private final JobProgress job;

  private @Nullable Thread ticker;
  private long lastLine;

  /** Columns of the last line of the terminal that the bar takes; 0 where there is none. */
  private int bar;

  private boolean ended;

  /**
   * What standard error is; Java cannot tell, the launcher says.
   *
   * @param columns 0 where it is no terminal
   */
  record Terminal(int columns) {
    private static final int USUAL = 80;

    static Terminal ofLauncher() {
      int columns = Integer.getInteger("laco.stderr.columns", USUAL);
      return new Terminal(
          Boolean.getBoolean("laco.stderr.terminal") ? columns > 0 ? columns : USUAL : 0);
    }

    boolean exists() {
      return columns > 0;
    }
  }

  Console(PrintWriter out, PrintWriter err, boolean quiet, boolean json) {
    this(out, err, quiet, json, Terminal.ofLauncher(), System::nanoTime);
  }

  Console(
      PrintWriter out,
      PrintWriter err,
      boolean quiet,
      boolean json,
      Terminal terminal,
      LongSupplier clock) {
    this.out = out;
    this.err = err;
    this.quiet = quiet;
    this.json = json;
    this.terminal = terminal;
    this.clock = clock;
    this.job =
        new JobProgress(
            clock,
            new JobProgress.StageListener() {
              @Override
              public void began(String stage) {
                if (!quiet) {
                  startTicker();
                }
              }

              @Override
              public void ended() {
                endStage();
              }
            });
    this.lastLine = clock.getAsLong();
  }

  /** A line for people, {@code label} in a column of its own. */
  void line(String label, String format, Object... arguments) {
    plain(labelled(label, format, arguments));
  }

  /** The line that names the device of a job. */
  void device(String description) {
    device = description;
    line("device", "%s", description);
  }

  /** The device of the job; empty where none was opened. */
  String device() {
    return device;
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
        + OptionNames.in(String.format(Locale.ROOT, format, arguments));
  }

  /** Whether a text on stdout may have a colour: https://no-color.org. */
  private static boolean hasColours() {
    String none = System.getenv("NO_COLOR");
    return STDOUT_IS_TERMINAL
        && (none == null || none.isEmpty())
        && !"dumb".equals(System.getenv("TERM"));
  }

  /**
   * A line whose text has the colour of a tone where stdout is a terminal that may have colours.
   */
  void verdict(String label, Verdict tone, String text) {
    if (quiet || json || !hasColours()) {
      line(label, "%s", text);
    } else {
      printAsIs(
          String.format(
              Locale.ROOT,
              "%-12s \u001b[%dm%s\u001b[0m",
              label,
              tone.colour(),
              Legible.line(text)));
    }
  }

  /** A line for people. */
  void plain(String text) {
    if (quiet) {
      return;
    }
    if (json) {
      errorLine(text);
    } else {
      printLine(text);
    }
  }

  private void printLine(String text) {
    printAsIs(Legible.line(text));
  }

  private synchronized void printAsIs(String line) {
    if (!ended) {
      clear();
      out.println(line);
      out.flush();
    }
  }

  /** A line beside the result, on stderr. */
  void note(String label, String text) {
    if (!quiet) {
      errorLine(String.format(Locale.ROOT, "%-12s %s", label, OptionNames.in(text)));
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

  private synchronized void print(String text) {
    clear();
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
    errorLine("laco: " + text);
  }

  /** What a user should know, on stderr and in the report. */
  void warning(String text) {
    String message = OptionNames.in(text);
    warnings.add(message);
    error("warning: " + message);
  }

  private synchronized void errorLine(String text) {
    if (!ended) {
      clear();
      err.println(Legible.line(text));
    }
  }

  /** The last line: why the process ends, whatever it still does. */
  synchronized void end(String text) {
    error(text);
    ended = true;
  }

  /** The line before a job whose stages are expected: about how long it takes, if that is long. */
  void expectation() {
    job.expectation().ifPresent(text -> note("time", text));
  }

  /** The last line of a job: how long it took, and what a user may do next. */
  void next(String command) {
    done("next: " + command);
  }

  /** The last line of a job: how long it took, and what else there is to say. */
  void done(String more) {
    note("done", "in " + JobProgress.exactly(job.seconds()) + "; " + more);
  }

  /** The stages of what the command does. */
  JobProgress job() {
    return job;
  }

  /** Begins a stage of the job, which is over when it is closed. */
  JobProgress.Stage progress(String stage) {
    return job.begin(stage);
  }

  private synchronized void startTicker() {
    if (ticker == null) {
      ticker = Thread.ofPlatform().daemon().name("laco-progress").start(this::tickOnAndOn);
    }
  }

  private void tickOnAndOn() {
    try {
      while (true) {
        Thread.sleep(REDRAW);
        tick();
      }
    } catch (InterruptedException e) {
      // The stage is over.
    }
  }

  /** Shows how far the job has come, if it is time for that. */
  synchronized void tick() {
    JobProgress.State state = job.state();
    if (ended || state.stage().isEmpty()) {
      return;
    }
    if (terminal.exists()) {
      draw(state.bar(terminal.columns() - 1));
    } else if (clock.getAsLong() - lastLine >= BETWEEN_LINES.toNanos()) {
      note("progress", state.line());
      lastLine = clock.getAsLong();
    }
  }

  private void draw(String text) {
    err.print("\r" + text + " ".repeat(Math.max(0, bar - text.length())));
    err.flush();
    bar = text.length();
  }

  /** Takes the bar away, so that something else can be said in its place. */
  private void clear() {
    if (bar > 0) {
      // A terminal writes ^C behind it.
      err.print("\r" + " ".repeat(terminal.columns() - 1) + "\r");
      err.flush();
      bar = 0;
    }
  }

  private synchronized void endStage() {
    if (ticker != null) {
      ticker.interrupt();
      ticker = null;
    }
    clear();
  }
}
