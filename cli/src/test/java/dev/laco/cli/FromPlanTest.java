package dev.laco.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.laco.Fixtures;
import dev.laco.ProgramRun;
import dev.laco.TestFiles;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** {@code prune --from-plan}: fit, measure and write without a search. */
class FromPlanTest {
  private static final Path MODEL = PrunedFixture.MODEL;

  @TempDir Path folder;
  private PrunedFixture fixture;
  private Path calibration;

  @BeforeEach
  void writeCalibration() {
    fixture = PrunedFixture.in(folder);
    calibration = fixture.calibration();
  }

  private ProgramRun prune(Object... more) {
    return fixture.prune(
        Stream.concat(Stream.of("--fit-text", calibration), Stream.of(more)).toArray());
  }

  private Path out(String name) {
    return folder.resolve(name);
  }

  /** A prune that fits, and its plan as it was before the fit. */
  private Path unfittedPlan(Path out) {
    prune(out, "--target-layers", 6, "--rule", "fit", "--search", "beam").succeeded();
    ObjectNode plan = (ObjectNode) Fixtures.read(out.resolve("laco_plan.json"));
    assertTrue(plan.has("tensors"), "the fit was left out, and this test means nothing");
    plan.remove("tensors");
    return TestFiles.write(folder.resolve("unfitted.json"), plan.toPrettyString());
  }

  @Test
  void aPlanIsFittedAsTheSearchThatFoundItWouldHave() {
    Path plan = unfittedPlan(out("searched"));
    ProgramRun run = prune(out("again"), "--from-plan", plan, "--rule", "fit").succeeded();
    TestFiles.assertSameTree(out("searched"), out("again"));
    assertTrue(run.out().contains("search       none: the plan of " + plan), run.out());
    JsonNode report = Fixtures.read(folder.resolve("again.report.json"));
    JsonNode searched = Fixtures.read(folder.resolve("searched.report.json"));
    assertEquals(searched.get("finalSimilarity"), report.get("finalSimilarity"));
    assertEquals(searched.get("plan"), report.get("plan"));
    assertEquals(0, report.get("trials").size());
  }

  @Test
  void whatIsFittedAlreadyIsWrittenAsItIs() {
    unfittedPlan(out("searched"));
    Path plan = out("searched").resolve("laco_plan.json");
    Laco.run("prune", MODEL, out("again"), "--calibration", calibration, "--from-plan", plan)
        .succeeded();
    TestFiles.assertSameTree(out("searched"), out("again"));
    assertFalse(Fixtures.read(folder.resolve("again.report.json")).has("fit"));
    ProgramRun refused = prune(out("third"), "--from-plan", plan, "--rule", "fit");
    assertEquals(2, refused.code());
    assertTrue(refused.err().contains("are fitted already"), refused.err());
  }

  @Test
  void aRuleThatFitsNothingLeavesThePlanAlone() {
    Path plan = unfittedPlan(out("searched"));
    Laco.run(
            "prune",
            MODEL,
            out("plain"),
            "--calibration",
            calibration,
            "--from-plan",
            plan,
            "--rule",
            "drop")
        .succeeded();
    assertEquals(
        Fixtures.read(plan).get("layers"),
        Fixtures.read(out("plain").resolve("laco_plan.json")).get("layers"));
    assertFalse(Fixtures.read(out("plain").resolve("laco_plan.json")).has("tensors"));
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "--target-layers 6",
        "--target-ratio 0.5",
        "--target-bytes 1MB",
        "--threshold 0.5",
        "--search greedy",
        "--search-budget 2sweeps",
        "--objective kl",
        "--lookahead 2",
        "--merge-layers 2",
        "--interval 2",
        "--lowest 1",
        "--highest 6",
        "--norms base"
      })
  void optionsOfASearchDoNotGoWithIt(String option) {
    List<Object> arguments = new ArrayList<>(List.of(out("out"), "--from-plan", "plan.json"));
    arguments.addAll(List.of(option.split(" ")));
    ProgramRun run = prune(arguments.toArray());
    assertEquals(2, run.code());
    assertTrue(
        run.err().startsWith("laco: " + option.split(" ")[0] + " is of a search"), run.err());
  }

  @Test
  void aPlanOfAnotherModelIsBadInput() {
    Path plan = unfittedPlan(out("searched"));
    ProgramRun run =
        Laco.run(
            "prune",
            Fixtures.model("llama_linear"),
            out("out"),
            "--calibration",
            Fixtures.tokens(folder, "llama_linear", "calib"),
            "--from-plan",
            plan);
    assertEquals(3, run.code());
    assertTrue(run.err().startsWith("laco: the plan is for another model than"), run.err());
    assertEquals("", run.out());
    assertFalse(Files.exists(out("out")));
  }
}
