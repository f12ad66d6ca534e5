package dev.laco.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import dev.laco.ByteSize;
import dev.laco.Fixtures;
import dev.laco.ProgramRun;
import dev.laco.TestFiles;
import dev.laco.run.MemoryPlan;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Models that do not fit what they are given: nothing comes out differently. */
class StreamingTest {
  private static final Pattern NEEDED =
      Pattern.compile(
          "laco: buffers(?:, new weights \\([0-9.]+ .B\\))? and the weights that are in use at once need ([0-9.]+) (.B), --host-memory,"
              + " less 160\\.0 MB for Java, gives 0 bytes; give more memory, or use .*\\R");

  @TempDir Path folder;

  @ParameterizedTest
  @CsvSource({
    "llama_tied_rope3, replace, auto",
    "llama_untied_gqa, rdsc, f32",
    "mistral_std, rdsc, auto",
    "llama_mha_bias_f16, mean, f32",
    "qwen3_qknorm, drop, auto"
  })
  void theSmallestPoolGivesTheSameDecisionsAndFiles(String fixture, String rule, String compute) {
    assertStreamsAlike(
        Fixtures.model(fixture),
        "--rule",
        rule,
        "--compute",
        compute,
        "--threshold",
        0.6,
        // Merges of merges are made of more layers than the smallest pool holds.
        "--interval",
        4,
        "--calibration",
        Fixtures.tokens(folder, fixture, "calib"),
        "--eval-tokens",
        Fixtures.tokens(folder, fixture, "eval"));
  }

  @Test
  void aSearchAndAFitStreamAlike() {
    String fixture = "llama_untied_gqa";
    Path calibration = Fixtures.tokens(folder, fixture, "calib");
    JsonNode report =
        assertStreamsAlike(
            Fixtures.model(fixture),
            "--target-layers",
            4,
            "--merge-layers",
            2,
            "--rule",
            "repair",
            "--calibration",
            calibration,
            "--fit-text",
            calibration,
            "--eval-tokens",
            Fixtures.tokens(folder, fixture, "eval"));
    assertTrue(report.get("plan").has("tensors"), "the fit was left out");
  }

  /** The report of the run that has room. */
  private JsonNode assertStreamsAlike(Path model, Object... options) {
    JsonNode expected = prune(model, folder.resolve("whole"), options).succeeded().json();
    JsonNode found =
        prune(
                model,
                folder.resolve("streamed"),
                with(options, "--host-memory", least(model, options)))
            .succeeded()
            .json();
    assertEquals(Laco.decisions(expected), Laco.decisions(found));
    TestFiles.assertSameTree(folder.resolve("whole"), folder.resolve("streamed"));
    return expected;
  }

  /** The smallest budget, as a run says that is refused for want of it. */
  private String least(Path model, Object... options) {
    ProgramRun refused = prune(model, folder.resolve("no"), with(options, "--host-memory", "1KB"));
    assertEquals(4, refused.code());
    Matcher needed = NEEDED.matcher(refused.err());
    assertTrue(needed.matches(), refused.err());
    assertFalse(Files.exists(folder.resolve("no")));
    // The message rounds.
    long unit = ByteSize.parse("1" + needed.group(2)).bytes();
    double most = (Double.parseDouble(needed.group(1)) * 1.002 + 0.05) * unit;
    return MemoryPlan.JAVA_BYTES + (long) most + "B";
  }

  @Test
  void weightsThatAFitMakesAreCounted() {
    Object[] options = {"--target-layers", 12, "--fit-tokens", 2048};
    // 12 layers and one twice, of 0.8 MB.
    assertTrue(refusal(with(options, "--rule", "refine")).contains("new weights (10.2 MB)"));
    assertTrue(refusal(with(options, "--rule", "fit")).contains("new weights (3.9 MB)"));
    assertFalse(refusal("--target-layers", 12, "--rule", "drop").contains("new weights"));
  }

  private String refusal(Object... options) {
    ProgramRun run =
        prune(Fixtures.STORYTELLER, folder.resolve("no"), with(options, "--host-memory", "1KB"));
    assertEquals(4, run.code());
    return run.err();
  }

  @Test
  void thePlanIsSaidBeforeTheSearch() {
    Path out = folder.resolve("out");
    Object[] options = {"--target-layers", 14, "--search", "greedy", "--rule", "drop"};
    String budget = least(Fixtures.STORYTELLER, options);
    ProgramRun run =
        Laco.run(
            with(
                new Object[] {"prune", Fixtures.STORYTELLER, out},
                with(options, "--host-memory", budget)));
    assertTrue(
        run.succeeded()
            .out()
            .matches(
                "(?s).*\\Rmemory +14\\.2 MB of weights, streaming, window [0-9]+ layers?, [0-9.]+ [kM]B;"
                    + " [0-9.]+ MB of buffers\\Rsearch .*"),
        run.out());
  }

  @ParameterizedTest
  @CsvSource({"eval, --text, models/storyteller/evaluation.txt", "generate, --prompt, x"})
  void otherCommandsStreamToo(String command, String option, String value) {
    Object[] arguments = {command, Fixtures.STORYTELLER, option, value, "--json"};
    String expected = Laco.run(arguments).succeeded().out();
    assertEquals(expected, Laco.run(with(arguments, "--host-memory", "173MB")).succeeded().out());
    assertEquals(4, Laco.run(with(arguments, "--host-memory", "160.1MB")).code());
  }

  private static ProgramRun prune(Path model, Path out, Object... options) {
    return Laco.run(with(new Object[] {"prune", model, out, "--json", "--quiet"}, options));
  }

  private static Object[] with(Object[] arguments, Object... more) {
    List<Object> all = new ArrayList<>(Arrays.asList(arguments));
    all.addAll(Arrays.asList(more));
    return all.toArray();
  }
}
