package dev.laco.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import dev.laco.Fixtures;
import dev.laco.ProgramRun;
import dev.laco.collapse.KeptLayers;
import java.io.IOException;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What people read of a prune. */
class PruneLinesTest {
  @TempDir Path folder;

  @Test
  void theLayersThatWereKeptAndRemovedAreThoseOfThePlan() {
    Path plan = folder.resolve("plan.json");
    ProgramRun run =
        Laco.run(
            "prune",
            Fixtures.STORYTELLER,
            "--dry-run",
            "--plan",
            plan,
            "--target-layers",
            14,
            "--rule",
            "drop");
    List<Integer> kept = bases(Fixtures.read(plan));
    assertEquals(14, kept.size());
    String line = lineOf(run.succeeded().out(), "layers ");
    assertTrue(line.startsWith("kept " + KeptLayers.ranges(kept) + ", removed "), line);
  }

  @Test
  void theVerdictHasAColourOnATerminalAloneAndNotWithNoColor() throws IOException {
    String fixture = "llama_untied_gqa";
    List<Object> arguments =
        List.of(
            "prune",
            Fixtures.model(fixture),
            "--dry-run",
            "--target-layers=7",
            "--rule=drop",
            "--search=greedy",
            "--compute=f32",
            "--calibration",
            Fixtures.tokens(folder, fixture, "calib"),
            "--eval-tokens",
            Fixtures.tokens(folder, fixture, "eval"));
    String plain = verdict(Laco.run(arguments.toArray()));
    assertTrue(
        plain.matches("verdict {6}[a-z ]+: perplexity x\\d+\\.\\d{3} with 7 of 8 layers, .*"),
        plain);
    ProcessBuilder terminal = ProgramRun.java(Main.class, arguments.toArray());
    terminal.command().add(3, "-Dlaco.stdout.terminal=true");
    terminal.environment().put("TERM", "xterm");
    terminal.environment().remove("NO_COLOR");
    String coloured = verdict(ProgramRun.of(terminal.start()));
    assertTrue(coloured.matches("verdict {6}\u001b\\[3[123]m.*\u001b\\[0m"), coloured);
    assertEquals(plain, coloured.replaceAll("\u001b\\[\\d+m", ""));
    terminal.environment().put("NO_COLOR", "1");
    assertEquals(plain, verdict(ProgramRun.of(terminal.start())));
  }

  private static String verdict(ProgramRun run) {
    return run.succeeded()
        .out()
        .lines()
        .filter(line -> line.startsWith("verdict"))
        .findFirst()
        .orElseThrow();
  }

  @Test
  void whereTheFitChoosesAnotherModelThanTheTableLeadsToThatIsSaid() {
    Path file = folder.resolve("report.json");
    ProgramRun run =
        Laco.run(
            "prune",
            Fixtures.STORYTELLER,
            "--dry-run",
            "--report",
            file,
            "--compute",
            "f32",
            "--target-layers",
            10,
            "--rule",
            "fit",
            "--fit-tokens",
            2048);
    String out = run.succeeded().out();
    JsonNode report = Fixtures.read(file);
    List<Integer> written = bases(report.get("plan"));
    List<Integer> searched =
        report.at("/fit/contenders/0/layers").valueStream().map(JsonNode::intValue).toList();
    assertNotEquals(searched, written, "another size, for this test to mean something");
    assertTrue(
        lineOf(out, "layers ").startsWith("kept " + KeptLayers.ranges(written) + ", removed "),
        out);
    assertTrue(
        lineOf(out, "chosen ")
            .matches(
                "after a quick fit of \\d+ models; that of the table, without [-\\d ]+, predicted worse"),
        out);
  }

  private static List<Integer> bases(JsonNode plan) {
    return plan.get("layers").valueStream().map(layer -> layer.get("base").intValue()).toList();
  }

  /** The rest of the only line with a label. */
  private static String lineOf(String out, String label) {
    List<String> lines =
        out.lines().map(String::strip).filter(line -> line.startsWith(label)).toList();
    assertEquals(1, lines.size(), out);
    return lines.getFirst().substring(label.length()).strip();
  }
}
