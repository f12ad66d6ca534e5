package dev.laco.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.Fixtures;
import dev.laco.JobProgress;
import dev.laco.TestFiles;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.regex.MatchResult;
import java.util.regex.Pattern;
import java.util.stream.IntStream;
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
  void theRestOfAJobIsCountedAtThePaceSoFarAndWithoutTheStageThatAsks() {
    JobProgress job = new JobProgress(() -> now, JobProgress.StageListener.NONE);
    job.expect("search", 100);
    job.expect("heal", 1000);
    job.expect("write", 20);
    assertEquals(120, job.expectedBeside("heal"));
    assertEquals(120, job.leftBeside("heal"), 1e-9);
    try (JobProgress.Stage _ = job.begin("search")) {
      now += 200 * SECOND;
    }
    // The expected pace of the first seconds counts a little.
    assertEquals(40, job.leftBeside("heal"), 4);
  }

  @Test
  void aStageThatWasQuickerThanExpectedDoesNotPromiseThatLaterOnesAre() {
    JobProgress job = new JobProgress(() -> now, JobProgress.StageListener.NONE);
    job.expect("fit", 100);
    job.expect("heal", 1000);
    job.expect("write", 20);
    assertEquals(120, job.mostLeftBeside("heal"), 1e-9);
    try (JobProgress.Stage fit = job.begin("fit")) {
      now += 50 * SECOND;
      fit.update(1, 4);
      // Twice as slow as expected.
      assertTrue(job.mostLeftBeside("heal") > 1.2 * 95);
      assertEquals(job.leftBeside("heal"), job.mostLeftBeside("heal"));
    }
    assertTrue(job.leftBeside("heal") < 15);
    assertEquals(20, job.mostLeftBeside("heal"), 1e-9);
  }

  @Test
  void aStageThatTakesTheRestOfATimeKeepsTheEndOfTheJob() {
    JobProgress job = new JobProgress(() -> now, JobProgress.StageListener.NONE);
    job.expect("fit", 20);
    job.expect("write", 10);
    job.expectRest("heal", 100);
    assertEquals(30, job.expectedBeside("heal"));
    assertEquals(100, job.expectedBeside(""));
    try (JobProgress.Stage fit = job.begin("fit")) {
      now += 30 * SECOND;
      fit.update(1, 2);
      // The fit takes three times what was expected, and training will have so much less.
      assertEquals(70, job.state().left().orElseThrow(), 1e-9);
      assertEquals(0.3, job.state().share(), 1e-9);
      now += 50 * SECOND;
    }
    try (JobProgress.Stage _ = job.begin("heal")) {
      now += 10 * SECOND;
      // Nothing is left of the time, but the model must be written, at the pace of the fit.
      assertEquals(40, job.state().left().orElseThrow(), 5);
    }
    now += 2 * SECOND;
    try (JobProgress.Stage write = job.begin("write")) {
      now += 5 * SECOND;
      write.update(1, 2);
      assertEquals(5, job.state().left().orElseThrow(), 2);
    }
  }

  @Test
  void theShareThatIsDoneFallsWhenAFurtherStageIsExpected() {
    JobProgress job = new JobProgress(() -> now, JobProgress.StageListener.NONE);
    job.expect("items", 10);
    try (JobProgress.Stage _ = job.begin("items")) {
      now += 10 * SECOND;
    }
    assertEquals(1, job.state().share(), 1e-9);
    job.expect("tasks", 90);
    assertEquals(0.1, job.state().share(), 1e-9);
    assertEquals(90, job.state().left().orElseThrow(), 1);
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
    JobProgress job = new JobProgress(() -> now, JobProgress.StageListener.NONE);
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
  void aLongStepThatWasReckonedTooFarDoesNotTakeTheShareBack() {
    JobProgress job = new JobProgress(() -> now, JobProgress.StageListener.NONE);
    job.expect("fit", 100);
    JobProgress.Stage stage = job.begin("fit");
    now += 10 * SECOND;
    stage.update(1, 10);
    now += 50 * SECOND;
    double before = job.state().share();
    assertEquals(0.6, before, 0.05);
    // The step took all that time.
    stage.update(2, 10);
    assertEquals(before, job.state().share());
    assertTrue(job.state().left().orElseThrow() > 200);
  }

  @Test
  void whatWasNotExpectedIsKnownByItsOwnShare() {
    JobProgress job = new JobProgress(() -> now, JobProgress.StageListener.NONE);
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
    JobProgress job = new JobProgress(() -> now, JobProgress.StageListener.NONE);
    job.expect("search", 180);
    job.expect("choice", 125);
    job.expect("fit", 360);
    job.expect("write", 1);
    assertEquals("about 11 minutes: search 3, choice 2, fit 6", job.expectation().orElseThrow());
    assertEquals("1 second", JobProgress.about(0.2));
    assertEquals("99 seconds", JobProgress.about(99));
    assertEquals("3.5 hours", JobProgress.about(12600));
    assertEquals("11 min 40 s", JobProgress.exactly(700));
  }

  @Test
  void aJobOfASecondIsNotReckoned() {
    JobProgress job = new JobProgress(() -> now, JobProgress.StageListener.NONE);
    job.expect("write", 1.9);
    assertTrue(job.expectation().isEmpty());
    job.expect("read", 0.2);
    assertEquals("about 2 seconds: write 2, read 1", job.expectation().orElseThrow());
  }

  /** All that a command prints, in its order. */
  static String printed(Object... arguments) {
    StringWriter all = new StringWriter();
    PrintWriter both = new PrintWriter(all, true);
    String[] words = Arrays.stream(arguments).map(Object::toString).toArray(String[]::new);
    assertEquals(0, Main.run(both, both, words), all.toString());
    return all.toString();
  }

  private static String last(String printed) {
    return printed.lines().toList().getLast();
  }

  @Test
  void anEvaluationThatTakesLongSaysHowLongBeforeItAndWhatIsNextBehindIt() {
    Path tokens =
        TestFiles.write(
            folder.resolve("tokens.json"),
            IntStream.range(3, 150).boxed().toList().toString().replaceAll("^.*$", "[$0]"));
    String all = printed("eval", Fixtures.STORYTELLER, "--tokens", tokens, "--device", "reference");
    // A busy machine takes so long that it tells its progress, too.
    List<String> labels =
        all.lines()
            .map(line -> line.replaceFirst(" .*", ""))
            .filter(label -> !label.equals("progress"))
            .toList();
    assertEquals(List.of("device", "model", "memory", "time", "perplexity", "done"), labels, all);
    assertTrue(all.contains("time         about 5 seconds: perplexity 5"), all);
    assertTrue(
        last(all).matches("done         in \\d+ s; next: laco prune models/storyteller OUT"), all);
  }

  @Test
  void aModelOfOursSpeaksAfterItWasMadeAndAfterItWasMeasured() {
    Path plan = folder.resolve("plan.json");
    Path out = folder.resolve("out");
    Laco.run(
            "prune",
            Fixtures.STORYTELLER,
            "--dry-run",
            "--plan",
            plan,
            "--target-layers",
            15,
            "--rule",
            "drop",
            "--search",
            "greedy")
        .succeeded();
    String applied = printed("apply", plan, Fixtures.STORYTELLER, out);
    String generate = "laco generate \\Q" + out + "\\E --prompt \"Once upon a time\"";
    assertTrue(
        last(applied)
            .matches(
                "done         in \\d+ s; next: " + generate + ", or laco eval \\Q" + out + "\\E"),
        applied);
    assertTrue(!applied.contains("time  "), "of a job of a moment: " + applied);
    String measured = printed("eval", out);
    assertTrue(last(measured).matches("done         in \\d+ s; next: " + generate), measured);
    String words = printed("eval", out, "--last-word");
    assertTrue(last(words).matches("done         in \\d+ s; next: " + generate), words);
  }

  @Test
  void generateSaysHowFastItWasBesideTheText() {
    StringWriter out = new StringWriter();
    StringWriter err = new StringWriter();
    String[] arguments = {
      "generate", Fixtures.STORYTELLER.toString(), "--prompt", "Once upon", "--max-tokens", "5"
    };
    assertEquals(
        0,
        Main.run(new PrintWriter(out, true), new PrintWriter(err, true), arguments),
        () -> "" + err);
    assertTrue(out.toString().startsWith("Once upon "), out.toString());
    assertTrue(!out.toString().contains("done"), out.toString());
    assertTrue(
        last(err.toString())
            .matches("done         in \\d+ s; 4 prompt tokens, 5 new ones, \\d+\\.\\d a second"),
        err.toString());
  }

  @Test
  void aPruneSaysBeforeItsSearchHowLongAllTakesAndAtTheEndHowLongItTookAndWhatIsNext() {
    StringWriter all = new StringWriter();
    PrintWriter both = new PrintWriter(all, true);
    Path out = folder.resolve("out");
    String[] arguments = {
      "prune",
      Fixtures.STORYTELLER.toString(),
      out.toString(),
      "--target-layers",
      "15",
      "--rule",
      "fit",
      "--fit-tokens",
      "2048",
      "--threads",
      "1"
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
                    "done         in \\d+ s; next: laco generate \\Q%s\\E --prompt .*, or laco eval"
                        + " \\Q%s\\E",
                    out,
                    out)),
        lines.getLast());
  }

  @Test
  void aComparisonSaysHowLongItTookAndHowItsSizeIsMade() {
    String last =
        last(
            printed(
                "compare", Fixtures.STORYTELLER, "--target-layers", 15, "--strategies", "last"));
    assertTrue(
        last.matches(
            "done         in \\d+ s; next: laco prune models/storyteller OUT --target-layers 15"),
        last);
  }

  @Test
  void aSimilarityEndsWithTheCommandThatPrunesWhatCostsLittle() {
    String all =
        printed("similarity", Fixtures.STORYTELLER, "--parts", "removals", "--longest-span", "1");
    assertTrue(all.contains("cheapest     layers 2-5 14: "), all);
    assertTrue(
        last(all)
            .matches(
                "done         in \\d+ s; next: laco prune models/storyteller OUT --target-layers"
                    + " 11"),
        all);
  }
}
