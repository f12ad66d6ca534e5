package dev.laco.cli;

import static java.nio.charset.StandardCharsets.UTF_8;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import dev.laco.Fixtures;
import dev.laco.ProgramRun;
import dev.laco.TestFiles;
import java.io.BufferedReader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Ctrl-C on a terminal: the plan is kept, and the job goes on from it. */
@Timeout(value = 120, threadMode = Timeout.ThreadMode.SEPARATE_THREAD)
class InterruptTest {
  private static final int INTERRUPTED = 130;

  /** So few tokens that what follows an interrupt is quick. */
  private static final Object[] QUICK = {
    "--compute", "f32", "--fit-tokens", 2048, "--rule", "compensate"
  };

  @TempDir Path folder;

  /** Lies beside the test's folder, where nothing else may be. */
  @TempDir Path texts;

  /** A calibration text of two sentences, so that a search is soon over. */
  private Path shortText() {
    return TestFiles.write(
        texts.resolve("samples.txt"), "The king had a garden.\nIt rained all day.\n");
  }

  private static ProcessBuilder prune(Object... more) {
    List<Object> arguments = new ArrayList<>(List.of("prune", Fixtures.STORYTELLER));
    arguments.addAll(Arrays.asList(more));
    ProcessBuilder builder = ProgramRun.java(Main.class, arguments.toArray());
    builder.command().add(builder.command().indexOf("-cp"), "-Dlaco.stderr.terminal=true");
    builder.command().add(builder.command().indexOf("-cp"), "-Dlaco.stderr.columns=120");
    return builder;
  }

  /**
   * Each stage is long enough for an interrupt in the middle. Which shares of a stage are shown
   * depends on the machine, so that the test waits for none of them.
   */
  @ParameterizedTest
  @CsvSource({
    "search, 12, search \\[[^\\r]*; \\d+ layers",
    "choice, 10, \\rchoice \\[",
    "fit, 15, \\rfit \\["
  })
  void aPlanIsKeptInEveryStageAndGoneOnFrom(String stage, int layers, String screen)
      throws Throwable {
    Path out = folder.resolve("out");
    Path plan = folder.resolve("out.plan.json");
    String last;
    try (PseudoTerminal terminal = new PseudoTerminal()) {
      int tokens = stage.equals("choice") ? 16_384 : 4096;
      List<Object> arguments =
          new ArrayList<>(List.of(out, "--target-layers", layers, "--fit-tokens", tokens));
      // A search by trials has a best model before its end, one in closed form has not.
      arguments.addAll(
          stage.equals("search")
              ? List.of("--search", "beam")
              : List.of("--calibration", shortText()));
      Process process = terminal.start(prune(arguments.toArray()));
      terminal.await(screen);
      terminal.interrupt();
      last = terminal.screen().lines().toList().getLast();
      assertTrue(process.waitFor(60, TimeUnit.SECONDS));
      assertEquals(INTERRUPTED, process.exitValue(), last);
    }
    assertTrue(
        last.matches(
            String.format(
                Locale.ROOT,
                ".*laco: interrupted: the best plan so far, of \\d+ layers, is in \\Q%s\\E; laco"
                    + " prune models/storyteller \\Q%s\\E --from-plan \\Q%s\\E goes on from it",
                plan,
                out,
                plan)),
        last);
    assertEquals(List.of("out.plan.json"), TestFiles.names(folder), stage);
    List<Object> goOn =
        new ArrayList<>(List.of("prune", Fixtures.STORYTELLER, out, "--from-plan", plan));
    goOn.addAll(List.of(QUICK));
    ProgramRun run = Laco.run(goOn.toArray()).succeeded();
    assertTrue(run.out().contains("search       none: the plan of " + plan), run.out());
    JsonNode report = Fixtures.read(folder.resolve("out.report.json"));
    assertEquals(plan.toString(), report.at("/settings/fromPlan").textValue());
    assertEquals(0, report.get("trials").size());
    assertEquals(Fixtures.read(plan).get("layers").size(), report.get("layersOut").intValue());
    assertTrue(Files.exists(out.resolve("config.json")));
  }

  @ParameterizedTest
  @CsvSource({"INT, 130", "TERM, 143"})
  void withoutATerminalToo(String signal, int code) throws Exception {
    Path out = folder.resolve("out");
    Path plan = folder.resolve("out.plan.json");
    Process process =
        ProgramRun.java(
                Main.class,
                "prune",
                Fixtures.STORYTELLER,
                out,
                "--target-layers",
                14,
                "--calibration",
                shortText())
            .start();
    // The search is over; the fit lasts.
    BufferedReader lines = process.inputReader();
    for (String line = lines.readLine(); !line.startsWith("base"); line = lines.readLine()) {}
    signal(process, signal);
    String err = new String(process.getErrorStream().readAllBytes(), UTF_8);
    assertEquals(code, process.waitFor(), err);
    assertTrue(
        err.lines().toList().getLast().startsWith("laco: interrupted: the best plan so far"), err);
    assertEquals(List.of("out.plan.json"), TestFiles.names(folder));
    assertEquals(14, Fixtures.read(plan).get("layers").size());
  }

  @Test
  void whatWasFittedIsKeptWhileItIsWritten() throws Exception {
    Path out = folder.resolve("out");
    Path plan = folder.resolve("out.plan.json");
    List<Object> arguments =
        new ArrayList<>(
            List.of("prune", Fixtures.STORYTELLER, out, "--target-layers", 14, "--max-shard-size"));
    arguments.addAll(List.of("10KB", "--calibration", shortText()));
    arguments.addAll(List.of(QUICK));
    Process process = ProgramRun.java(Main.class, arguments.toArray()).start();
    while (process.isAlive()
        && TestFiles.names(folder).stream().noneMatch(name -> name.endsWith(".new"))) {
      Thread.sleep(1);
    }
    signal(process, "INT");
    assertEquals(INTERRUPTED, process.waitFor());
    assertEquals(List.of("out.plan.json", "out.plan.safetensors"), TestFiles.names(folder));
    // Nothing is fitted again.
    ProgramRun run = Laco.run("prune", Fixtures.STORYTELLER, out, "--from-plan", plan).succeeded();
    assertFalse(Fixtures.read(folder.resolve("out.report.json")).has("fit"), run.out());
    assertTrue(Fixtures.read(out.resolve("laco_plan.json")).has("tensors"));
  }

  @Test
  void theSecondKillsAtOnce() throws Exception {
    Path plan = folder.resolve("plan.json");
    Path full = folder.resolve("full");
    assertEquals(0, new ProcessBuilder("mkfifo", full.toString()).start().waitFor());
    List<String> command =
        new ArrayList<>(List.of("sh", "-c", "exec 3<>\"$0\"; exec \"$@\" 2>&3", full.toString()));
    command.addAll(
        ProgramRun.java(
                Main.class,
                "prune",
                Fixtures.STORYTELLER,
                "--dry-run",
                "--plan",
                plan,
                "--calibration",
                shortText())
            .command());
    Process process = new ProcessBuilder(command).start();
    BufferedReader lines = process.inputReader();
    for (String line = lines.readLine(); !line.startsWith("base"); line = lines.readLine()) {}
    // Nobody reads what is said there, and now there is no room for more.
    new ProcessBuilder(
            "timeout", "1", "sh", "-c", "exec head -c 1000000 /dev/zero >\"$0\"", full.toString())
        .start()
        .waitFor();
    signal(process, "INT");
    while (!Files.exists(plan)) {
      Thread.sleep(5);
    }
    assertFalse(process.waitFor(300, TimeUnit.MILLISECONDS), "the first waits for its last word");
    signal(process, "INT");
    assertTrue(process.waitFor(30, TimeUnit.SECONDS), "the second is not heard");
    assertEquals(INTERRUPTED, process.exitValue());
  }

  private static void signal(Process process, String name) throws Exception {
    new ProcessBuilder("kill", "-" + name, Long.toString(process.pid())).start().waitFor();
  }
}
