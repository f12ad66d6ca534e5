package dev.laco.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.regex.MatchResult;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What people see of how far a job has come; time is the test's. */
class JobProgressTest {
  private static final long SECOND = 1_000_000_000L;

  private long now;
  private final StringWriter err = new StringWriter();

  @TempDir Path folder;

  private Console console(int columns) {
    return new Console(
        new PrintWriter(new StringWriter()),
        new PrintWriter(err, true),
        false,
        false,
        new Console.Terminal(columns),
        () -> now);
  }

  @Test
  void withoutATerminalThereIsALineEveryThirtySeconds() {
    Console console = console(0);
    console.job().expect("search", 60);
    console.job().expect("fit", 240);
    try (JobProgress.Stage stage = console.progress("search")) {
      for (int second = 1; second <= 120; second++) {
        now += SECOND;
        stage.update(second, 120);
        console.tick();
      }
    }
    List<String> lines = err.toString().lines().toList();
    assertEquals(4, lines.size(), err.toString());
    for (String line : lines) {
      assertTrue(
          line.matches("progress     search: \\d+ % of the job, about \\d+ \\S+ left"), line);
    }
    // The search takes twice what was expected, and so will the fit: 8 minutes.
    assertEquals("progress     search: 20 % of the job, about 8 minutes left", lines.getLast());
  }

  @Test
  void timeLeftFallsWhileALongStepSaysNothing() {
    JobProgress job = new JobProgress(() -> now, () -> {});
    job.expect("fit", 100);
    JobProgress.Stage stage = job.begin("fit");
    now += 10 * SECOND;
    stage.update(1, 10);
    double before = job.state().left().orElseThrow();
    assertEquals(90, before, 5);
    now += 40 * SECOND;
    double after = job.state().left().orElseThrow();
    assertEquals(before - 40, after, 1e-9);
    now += 1000 * SECOND;
    assertTrue(job.state().left().orElseThrow() > 0);
    assertTrue(job.state().share() < 1);
  }

  @Test
  void whatWasNotExpectedIsKnownByItsOwnShare() {
    JobProgress job = new JobProgress(() -> now, () -> {});
    JobProgress.Stage stage = job.begin("write");
    assertTrue(job.state().left().isEmpty());
    now += 10 * SECOND;
    stage.update(1, 4);
    assertEquals(30, job.state().left().orElseThrow(), 1e-9);
    assertEquals(0.25, job.state().share(), 1e-9);
    // It never seems to go back.
    stage.update(1, 10);
    assertEquals(0.25, job.state().share(), 1e-9);
  }

  @Test
  void theBarOnATerminalIsAsWideAsThatAtMost() {
    Console console = console(30);
    JobProgress.Stage stage = console.progress("search");
    stage.note("12 layers, nll 3.7541");
    now += SECOND;
    stage.update(1, 2);
    console.tick();
    assertEquals("\rsearch [==========>         ]", err.toString().substring(0, 30));
    assertEquals(30, err.toString().length());
    stage.close();
    assertTrue(err.toString().endsWith("\r"), "the bar goes away");
  }

  @Test
  void aJobIsReckonedInTheUnitThatAPersonWouldTake() {
    JobProgress job = new JobProgress(() -> now, () -> {});
    job.expect("search", 180);
    job.expect("choice", 125);
    job.expect("fit", 360);
    job.expect("write", 1);
    assertEquals("about 11 minutes: search 3, choice 2, fit 6", job.expectation());
    assertEquals("1 second", JobProgress.about(0.2));
    assertEquals("99 seconds", JobProgress.about(99));
    assertEquals("3.5 hours", JobProgress.about(12600));
    assertEquals("11 min 40 s", JobProgress.exactly(700));
  }

  @Test
  void aPruneSaysBeforeItsSearchHowLongAllTakesAndAtTheEndHowLongItTookAndWhatIsNext() {
    StringWriter all = new StringWriter();
    PrintWriter both = new PrintWriter(all, true);
    Path out = folder.resolve("out");
    String[] arguments = {
      "prune",
      Laco.STORYTELLER.toString(),
      out.toString(),
      "--target-layers",
      "15",
      "--rule",
      "fit",
      "--fit-tokens",
      "2048"
    };
    assertEquals(0, Main.run(both, both, arguments), all.toString());
    List<String> lines = all.toString().lines().toList();
    List<MatchResult> labels =
        Pattern.compile("(?m)^(\\w+) .*$").matcher(all.toString()).results().toList();
    List<String> order = labels.stream().map(label -> label.group(1)).toList();
    assertTrue(order.indexOf("time") > 0, all.toString());
    assertEquals(order.indexOf("time") + 1, order.indexOf("search"), all.toString());
    assertTrue(
        lines.get(order.indexOf("time")).matches("time         about \\d+ \\w+: .*\\d.*"),
        all.toString());
    assertTrue(
        lines
            .getLast()
            .matches(
                String.format(
                    Locale.ROOT,
                    "done         in \\d+ s; next: laco generate \\Q%s\\E --prompt .*, or laco eval \\Q%s\\E",
                    out,
                    out)),
        lines.getLast());
  }

  @Test
  void aComparisonSaysHowLongItTookAndHowItsSizeIsMade() {
    StringWriter all = new StringWriter();
    PrintWriter both = new PrintWriter(all, true);
    String[] arguments = {
      "compare", Laco.STORYTELLER.toString(), "--target-layers", "15", "--strategies", "last"
    };
    assertEquals(0, Main.run(both, both, arguments), all.toString());
    String last = all.toString().lines().toList().getLast();
    assertTrue(
        last.matches(
            "done         in \\d+ s; next: laco prune models/storyteller OUT --target-layers 15"),
        last);
  }
}
