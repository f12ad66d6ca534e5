package dev.laco.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import dev.laco.Fixtures;
import dev.laco.ProgramRun;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** A pruned model that is trained, as a checkpoint. */
class HealTest {
  private static final String FIXTURE = "llama_untied_gqa";
  private static final Path MODEL = Fixtures.model(FIXTURE);

  @TempDir Path folder;
  private Path pruned;
  private Path healed;

  @BeforeEach
  void prune() {
    pruned = folder.resolve("pruned");
    healed = folder.resolve("healed");
    Laco.run(
            "prune",
            MODEL,
            pruned,
            "--target-layers",
            6,
            "--rule",
            "drop",
            "--calibration",
            Fixtures.tokens(folder, FIXTURE, "calib"),
            "--eval-tokens",
            Fixtures.tokens(folder, FIXTURE, "eval"))
        .succeeded();
  }

  private ProgramRun heal(Path out, Object... more) {
    List<Object> arguments =
        new ArrayList<>(
            List.of(
                "heal",
                pruned,
                out,
                "--heal-text",
                Fixtures.tokens(folder, FIXTURE, "calib"),
                "--eval-tokens",
                Fixtures.tokens(folder, FIXTURE, "calib")));
    arguments.addAll(List.of(more));
    return Laco.run(arguments.toArray());
  }

  @Test
  void theCheckpointIsTheModelThatTheReportTellsOf() throws IOException {
    Object[] options = {
      "--teacher", MODEL, "--heal-tokens", 2000, "--step-tokens", 64, "--rate", 2e-3, "--json"
    };
    ProgramRun run = heal(healed, options);
    JsonNode json = run.json();
    assertEquals(json, Fixtures.read(folder.resolve("healed.report.json")));
    assertTrue(run.err().contains("held out"), run.err());
    JsonNode quality = json.get("quality");
    assertTrue(
        quality.at("/after/kl").doubleValue() < 0.8 * quality.at("/before/kl").doubleValue(),
        quality.toString());
    JsonNode alone =
        Laco.run("eval", healed, "--tokens", Fixtures.tokens(folder, FIXTURE, "calib"), "--json")
            .json();
    assertEquals(
        alone.get("perplexity").doubleValue(),
        quality.at("/after/perplexity").doubleValue(),
        1e-4 * alone.get("perplexity").doubleValue());
    Path again = folder.resolve("again");
    heal(again, options).succeeded();
    assertEquals(
        -1,
        Files.mismatch(healed.resolve("model.safetensors"), again.resolve("model.safetensors")));
  }

  private ProgramRun pruneAndHeal(Path out, Object... more) {
    Path text = Fixtures.tokens(folder, FIXTURE, "calib");
    List<Object> arguments =
        new ArrayList<>(List.of("prune", MODEL, out, "--target-layers", 6, "--calibration", text));
    arguments.addAll(List.of("--fit-text", text, "--heal-text", text, "--eval-tokens", text));
    arguments.add("--json");
    arguments.addAll(List.of(more));
    return Laco.run(arguments.toArray()).succeeded();
  }

  @Test
  void aPruneEndsWithATraining() throws IOException {
    Object[] options = {
      "--rule", "drop", "--heal-tokens", 2000, "--step-tokens", 64, "--rate", 2e-3
    };
    ProgramRun run = pruneAndHeal(healed, options);
    assertTrue(
        run.err().matches("(?s).*\\R +heal +1 second +training on 2,000 tokens\\R.*"), run.err());
    JsonNode heal = run.json().get("heal");
    List<String> stages = heal.get("stages").findValuesAsText("stage");
    assertEquals("search", stages.getFirst());
    assertEquals("heal", stages.getLast());
    JsonNode best = heal.at("/training/best");
    assertTrue(
        best.get("kl").doubleValue() < 0.9 * heal.at("/training/heldOut/0/kl").doubleValue(),
        heal.toString());
    assertEquals(
        best.get("nll").doubleValue(),
        heal.get("stages").get(stages.size() - 1).get("meanNll").doubleValue());
    // What was measured is what was written.
    JsonNode alone =
        Laco.run("eval", healed, "--tokens", Fixtures.tokens(folder, FIXTURE, "calib"), "--json")
            .json();
    assertEquals(
        alone.get("perplexity").doubleValue(),
        run.json().at("/quality/pruned/perplexity").doubleValue(),
        1e-4 * alone.get("perplexity").doubleValue());
    // The plan is of the healed model.
    Path again = folder.resolve("again");
    Path plan = folder.resolve("plan.json");
    List<Object> planned = new ArrayList<>(List.of(options));
    planned.addAll(List.of("--plan", plan));
    pruneAndHeal(again, planned.toArray());
    Path applied = folder.resolve("applied");
    Laco.run("apply", plan, MODEL, applied).succeeded();
    String weights = "model.safetensors";
    assertEquals(-1, Files.mismatch(healed.resolve(weights), again.resolve(weights)));
    assertEquals(-1, Files.mismatch(healed.resolve(weights), applied.resolve(weights)));
  }

  @Test
  void whatCannotBeFittedIsHealedWithinATime() {
    String name = "olmo2";
    Path text = Fixtures.tokens(folder, name, "calib");
    JsonNode json =
        Laco.run(
                "prune",
                Fixtures.model(name),
                healed,
                "--within",
                "4s",
                "--calibration",
                text,
                "--fit-text",
                text,
                "--heal-text",
                text,
                "--eval-tokens",
                text,
                "--json")
            .json();
    assertFalse(json.has("fit"));
    JsonNode training = json.at("/heal/training");
    assertTrue(training.get("tokens").longValue() > 0, json.toString());
    assertEquals(4.0, json.at("/request/within").doubleValue());
    assertTrue(training.at("/best/kl").doubleValue() <= training.at("/heldOut/0/kl").doubleValue());
  }

  @Test
  void timesThatContradictEachOtherAreRefused() {
    assertEquals(2, Laco.run("prune", MODEL, healed, "--within", "9s", "--effort", "best").code());
    assertEquals(2, Laco.run("prune", MODEL, healed, "--within", "9s", "--heal-tokens", 9).code());
    ProgramRun fast = Laco.run("prune", MODEL, healed, "--effort", "fast", "--rule", "repair");
    assertEquals(2, fast.code());
    assertTrue(fast.err().contains("--effort fast chooses the rule: leave --rule out"), fast.err());
  }

  @Test
  void aModelThatWasNotPrunedFromTheTeacherIsRefused() {
    ProgramRun run = heal(healed, "--teacher", Fixtures.model("llama_tied_rope3"));
    assertEquals(3, run.code(), run.err());
    assertTrue(run.err().contains("it was not pruned from it"), run.err());
    ProgramRun other = heal(healed, "--teacher", Fixtures.model("qwen3_qknorm"));
    assertEquals(3, other.code(), other.err());
    assertTrue(other.err().contains("--teacher must name the model"), other.err());
    assertEquals(2, heal(healed, "--teacher", MODEL, "--rate", 2).code());
    assertEquals(2, heal(healed, "--teacher", MODEL, "--label-share", -1).code());
    assertEquals(2, heal(healed).code());
    assertFalse(Files.exists(healed));
  }
}
