package dev.laco.cli;

import static java.nio.charset.StandardCharsets.UTF_8;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.laco.Fixtures;
import dev.laco.ProgramRun;
import dev.laco.TestFiles;
import dev.laco.checkpoint.TestCheckpoints;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** What scripts rely on: options, exit codes, where output goes, and which files appear. */
class CommandLineTest {
  private static final Path MODEL = PrunedFixture.MODEL;

  @TempDir Path folder;
  private PrunedFixture fixture;
  private Path calibration;

  @BeforeEach
  void writeCalibration() {
    fixture = PrunedFixture.in(folder);
    calibration = fixture.calibration();
  }

  /** {@code prune MODEL …} with the calibration that this model without a tokenizer needs. */
  private ProgramRun prune(Object... more) {
    return fixture.prune(more);
  }

  @ParameterizedTest
  @ValueSource(strings = {"prune", "apply", "eval", "inspect", "generate", "doctor"})
  void everyCommandExplainsItselfWithAnExampleAndTellsItsVersion(String command) {
    ProgramRun help = Laco.run(command, "--help").succeeded();
    assertTrue(help.out().matches("(?s).*Example:\\R  laco " + command + "\\b.*"), help.out());
    assertEquals("", help.err());
    ProgramRun version = Laco.run(command, "--version").succeeded();
    assertTrue(version.out().matches("laco \\S+\\R"), version.out());
    assertEquals(Laco.run("--version").succeeded().out(), version.out());
  }

  @Test
  void theListOfCommandsComesWithAnExampleAndTheExitCodes() {
    String help = Laco.run("--help").succeeded().out();
    assertTrue(help.contains("  laco prune models/storyteller"), help);
    assertTrue(help.contains("Exit codes: 0 done, 1 internal error, 2 usage, 3 bad input"), help);
  }

  @Test
  void anUnknownCommandIsAUsageError() {
    assertUsageError(Laco.run("shrink", MODEL), "shrink", "laco");
  }

  @Test
  void aFitNeedsTextToChooseOn() {
    Path one = TestFiles.write(folder.resolve("one.json"), "[[1,2,3]]");
    ProgramRun run = prune("--dry-run", "--rule", "fit", "--fit-text", one);
    assertEquals(3, run.code());
    assertTrue(run.err().contains("one.json: 3 tokens in one window; a fit needs two"), run.err());
    Path tooShort = TestFiles.write(folder.resolve("short.json"), "[[1,2,3],[4]]");
    run = prune("--dry-run", "--rule", "fit", "--fit-text", tooShort);
    assertEquals(3, run.code());
    assertTrue(
        run.err().contains("short.json: no window that is held out has a second"), run.err());
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      quoteCharacter = '"',
      textBlock =
          """
          --threads 0 | --threads 0: expected 1 to
          --threads -1 | --threads -1: expected 1 to
          --threads 1000000 | --threads 1000000: expected 1 to
          --threads 1.5 | --threads
          --max-shard-size 0 | at least 1 byte
          --max-shard-size 5XB | '5XB' is no size
          --max-shard-size -5GB | --max-shard-size
          --memory 0.0001KB | at least 1 byte
          --target-ratio 1 | --target-ratio 1: expected at least 0 and below 1
          --target-ratio 100% | --target-ratio 1.00: expected at least 0 and below 1
          --target-ratio -0.1 | --target-ratio -0.1: expected
          --target-ratio NaN | '--target-ratio': 'NaN' is not a decimal number or a percentage
          --target-layers 0 | --target-layers 0: expected 1 to the model's depth, 8
          --target-layers 9 | --target-layers 9: expected 1 to the model's depth, 8
          --threshold NaN | --threshold NaN: expected -1 to 1
          --threshold 1.01 | --threshold 1.01: expected -1 to 1
          --threshold -1.01 | --threshold -1.01: expected -1 to 1
          --threshold Infinity | --threshold Infinity: expected -1 to 1
          --threshold high | --threshold
          --merge-layers 1 | --merge-layers 1: expected 2 to the model's depth, 8
          --merge-layers 9 | --merge-layers 9: expected 2 to the model's depth, 8
          --interval 0 --search laco | --interval 0: expected at least 1
          --lookahead 0 --threshold 0.5 | --lookahead 0: expected a number from 1 on, or all
          --lookahead 2 | --lookahead 2 is of the paper's loop
          --interval 2 | --interval 2 is of the paper's loop
          --target-bytes 1KB | --target-bytes 1000: the smallest, with one layer, has
          --target-bytes 1MB --target-layers 6 | mutually exclusive
          --search best | --search
          --search beam --threshold 0.5 | --search beam looks for a size: give a target, not --threshold
          --search-budget 60 | --search-budget 60: expected a time, like 90s, 2m or 1h30m
          --search-budget 0m | --search-budget 0m: expected
          --search-budget 1s30m | --search-budget 1s30m: expected
          --search-budget 60s --threshold 0.5 | --search-budget bounds a search for a size
          --objective loss | --objective
          --objective nll --threshold 0.5 | --objective nll: the paper's loop goes by cosine
          --rule auto --search laco | --rule auto: the paper's loop has one rule
          --highest 9 | --highest 9: expected --merge-layers, 2, to the model's depth, 8
          --highest 3 --lowest 5 | --lowest 5: expected
          --lowest 7 | --lowest 7: expected 0 to --highest minus --merge-layers, 6
          --lowest -1 | --lowest -1: expected 0 to
          --rule average | --rule average: expected replace, rdsc, mean, drop or rdsc:LAMBDA (-10 to 10); compensate,
          --rule rdsc:NaN | --rule rdsc:NaN: expected
          --norms none | --norms
          --compute f64 | --compute
          --device gpu | --device gpu: expected auto, cpu, cuda[:N] or reference
          --device cuda:x | --device cuda:x: expected
          --threshold 0.5 --target-layers 6 | --target-layers=N, --threshold=T are mutually exclusive
          --target-ratio 0.5 --target-layers 6 | mutually exclusive
          --eval-text a.txt --eval-tokens b.json | mutually exclusive
          --threshold 0.5 --threshold 0.6 | --threshold
          --treshold 0.5 | --treshold
          """)
  void valuesOutOfRangeAreUsageErrorsThatNameOptionAndRange(String options, String message) {
    Path out = folder.resolve("out");
    List<Object> arguments = new ArrayList<>(List.of(out));
    arguments.addAll(List.of(options.split(" ")));
    assertUsageError(prune(arguments.toArray()), message, "laco prune");
    assertEquals(List.of(calibration.getFileName().toString()), TestFiles.names(folder));
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      quoteCharacter = '"',
      textBlock =
          """
          eval | --stride 0 | --stride 0: expected at least 1
          eval | --max-length 0 | --max-length 0: expected at least 1
          eval | --max-length 4 --stride 5 | --stride is 5, it must be from 1 to --max-length, 4
          eval | --window 1 | --window 1: expected at least 2
          eval | --window 4 --stride 5 | --stride 5: expected 1 to --window, 4
          eval | --window 4 --max-length 4 | --max-length and --window are two ways to cut
          eval | --text a --tokens b | mutually exclusive
          eval | --text a --last-word=b | mutually exclusive
          eval | --last-word=b --stride 4 | do not go with --last-word
          eval | --threads 0 | --threads 0: expected 1 to
          generate | "" | --prompt
          generate | --prompt x --max-tokens 0 | --max-tokens 0: expected 1 to
          generate | --prompt x --max-tokens 2147483647 | --max-tokens 2147483647: expected 1 to
          generate | --prompt x --temperature -1 | --temperature -1.0: expected
          generate | --prompt x --temperature NaN | --temperature NaN: expected
          generate | --prompt x --top-p 0 | --top-p 0.0: expected a number above 0, at most 1
          generate | --prompt x --top-p 1.5 | --top-p 1.5: expected
          generate | --prompt x --top-k -1 | --top-k -1: expected at least 1, or 0 for all tokens
          generate | --prompt x --min-p -0.5 | --min-p -0.5: expected a number from 0 to 1
          generate | --prompt x --repetition-penalty NaN | --repetition-penalty NaN: expected a number from 0.01
          """)
  void otherCommandsNameOptionAndRangeToo(String command, String options, String message) {
    List<Object> arguments = new ArrayList<>(List.of(command, Fixtures.STORYTELLER));
    Arrays.stream(options.split(" ")).filter(o -> !o.isEmpty()).forEach(arguments::add);
    assertUsageError(Laco.run(arguments.toArray()), message, "laco " + command);
  }

  @Test
  void tokenListsAreNeverCut() {
    ProgramRun run = Laco.run("eval", MODEL, "--tokens", calibration, "--max-length", 4);
    assertUsageError(run, "token-id lists are never cut", "laco eval");
  }

  private static void assertUsageError(ProgramRun run, String message, String command) {
    assertEquals(2, run.code(), run.err());
    assertTrue(run.err().contains(message), run.err());
    assertTrue(
        run.err().matches("laco: [^\\n]*; see " + command + " --help\\R"),
        "one line: " + run.err());
    assertFalse(run.err().contains("Exception"), run.err());
    assertEquals("", run.out());
  }

  @ParameterizedTest
  @ValueSource(strings = {"prune", "apply", "eval", "inspect", "generate"})
  void aModelThatIsNotThereIsBadInput(String command) {
    Path plan = planOf(folder.resolve("some.json"));
    Path missing = folder.resolve("missing");
    ProgramRun run =
        switch (command) {
          case "prune" -> Laco.run(command, missing, folder.resolve("out"));
          case "apply" -> Laco.run(command, plan, missing, folder.resolve("out"));
          case "generate" -> Laco.run(command, missing, "--prompt", "x");
          default -> Laco.run(command, missing);
        };
    assertEquals(3, run.code());
    assertTrue(run.err().startsWith("laco: " + missing + ": is no folder"), run.err());
    assertEquals(1, run.err().lines().count());
    assertEquals("", run.out());
  }

  private Path planOf(Path file) {
    prune("--dry-run", "--threshold", 0.5, "--plan", file).succeeded();
    return file;
  }

  @Test
  void aDepthOutOfReachIsAUsageErrorThatSaysWhatCanBeReached() {
    ProgramRun run = prune(folder.resolve("out"), "--target-layers", 1, "--lowest", 3, "--quiet");
    assertUsageError(run, "the shallowest is 4 of 8; lower --lowest", "laco prune");
    run = prune(folder.resolve("out"), "--target-layers", 1, "--lowest", 3, "--search", "laco");
    assertEquals(2, run.code());
    assertTrue(run.err().matches(".* the shallowest reached was \\d of 8; .*\\R"), run.err());
    assertFalse(Files.exists(folder.resolve("out")));
  }

  @ParameterizedTest
  @ValueSource(strings = {"cuda", "cuda:0"})
  void cudaNeverFallsBack(String device) {
    Path out = folder.resolve("out");
    assertNoCuda(prune(out, "--device", device));
    assertFalse(Files.exists(out));
    assertNoCuda(Laco.run("eval", MODEL, "--tokens", calibration, "--device", device));
    assertNoCuda(Laco.run("generate", Fixtures.STORYTELLER, "--prompt", "x", "--device", device));
  }

  private static void assertNoCuda(ProgramRun run) {
    assertEquals(4, run.code());
    assertEquals("", run.out());
    assertTrue(run.err().matches("laco: --device cuda\\S*: .*use --device cpu\\R"), run.err());
  }

  @Test
  void tooLittleMemoryNamesNeededAndFreeAndTheFlag() {
    assertNoMemory(prune(folder.resolve("out"), "--memory", "1KB"));
    assertFalse(Files.exists(folder.resolve("out")));
    assertNoMemory(Laco.run("eval", MODEL, "--tokens", calibration, "--memory", "1KB"));
    assertNoMemory(
        Laco.run("generate", Fixtures.STORYTELLER, "--prompt", "x", "--quiet", "--memory", "1KB"));
  }

  private static void assertNoMemory(ProgramRun run) {
    assertEquals(4, run.code());
    assertTrue(
        run.err().matches("laco: buffers need [0-9.]+ .?B, --memory gives 1\\.0 kB; use .*\\R"),
        run.err());
  }

  @Test
  void theReportIsTheDocumentOnStdoutWithExactlyTheKeysThatOtherToolsRead() {
    Path out = folder.resolve("out");
    Path evalTokens = Fixtures.tokens(folder, PrunedFixture.NAME, "eval");
    ProgramRun run = prune(out, "--json", "--eval-tokens", evalTokens, "--threshold", 0.6);
    JsonNode report = run.succeeded().json();
    assertEquals(report, Fixtures.read(folder.resolve("out.report.json")));
    assertKeys(
        report,
        "laco date command jobId request model settings device memory layersIn layersOut layersKept"
            + " layersMerged layersRemoved parametersIn parametersOut bytesOut search trials plan quality"
            + " finalSimilarity warnings timings");
    List<String> settings = keys(report.get("settings"));
    assertEquals(
        List.of("mergeLayers", "interval", "lowest", "highest", "threshold", "rule", "norms"),
        settings.subList(0, 7));
    assertTrue(report.get("device").textValue().startsWith("cpu"));
    assertEquals(8, report.get("layersIn").intValue());
    for (JsonNode trial : report.get("trials")) {
      assertKeys(trial, "step base merged layersBefore similarities mean accepted");
      assertEquals(5, trial.get("similarities").size());
    }
    JsonNode plan = report.get("plan");
    assertKeys(plan, "version source layers products results");
    assertKeys(plan.get("source"), "architecture layers digest weights");
    assertEquals(report.get("layersOut").intValue(), plan.get("layers").size());
    plan.get("layers").forEach(layer -> assertKeys(layer, "base mix"));
    assertEquals(plan, Fixtures.read(out.resolve("laco_plan.json")));
    JsonNode quality = report.get("quality");
    assertKeys(quality, "text dense pruned similarity kl byPosition samples");
    assertEquals(evalTokens.getFileName().toString(), quality.get("text").textValue());
    assertKeys(quality.get("dense"), "tokens meanNll perplexity");
    assertKeys(quality.get("pruned"), "tokens meanNll perplexity");
    assertEquals(138, quality.get("dense").get("tokens").intValue());
    JsonNode timings = report.get("timings");
    assertKeys(
        timings,
        "loadSeconds searchSeconds writeSeconds totalSeconds productRates sweeps rescored work");
    JsonNode work = timings.get("work");
    assertKeys(work, "passes bytesRead operations floorOperations floorBytes");
    assertEquals(timings.get("sweeps"), work.get("passes"));
    // One candidate at a time does nothing in vain.
    assertEquals(work.get("floorOperations"), work.get("operations"));
    assertTrue(work.get("bytesRead").longValue() >= work.get("floorBytes").longValue());
    // The original's pass, and one for each trial.
    assertEquals(1 + report.get("trials").size(), timings.get("sweeps").intValue());
    assertEquals(parameters(MODEL), report.get("parametersIn").longValue());
    assertEquals(parameters(out), report.get("parametersOut").longValue());
    // The lines for people went elsewhere.
    assertTrue(run.err().contains("calibration"), run.err());
  }

  @Test
  void aLookaheadSavesPassesAndChangesNothing() {
    JsonNode one = prune("--dry-run", "--json", "--threshold", 1).succeeded().json();
    JsonNode all =
        prune("--dry-run", "--json", "--threshold", 1, "--lookahead", "all").succeeded().json();
    assertEquals(one.get("plan"), all.get("plan"));
    assertEquals(one.get("settings"), all.get("settings"));
    assertEquals(one.get("trials").size(), all.get("trials").size());
    int passes = all.get("timings").get("sweeps").intValue();
    assertEquals(2, passes);
    assertTrue(one.get("timings").get("sweeps").intValue() > 2);
  }

  @Test
  void aSearchForASizeTellsHowEveryModelCameAbout() {
    Path out = folder.resolve("out");
    JsonNode report =
        prune(out, "--json", "--target-layers", 5, "--merge-layers", 3, "--norms", "base")
            .succeeded()
            .json();
    JsonNode settings = report.get("settings");
    assertEquals(
        List.of("mergeLayers", "lowest", "highest", "threshold", "rule", "norms", "search"),
        keys(settings).subList(0, 7));
    assertTrue(settings.get("threshold").isNull());
    assertEquals("auto", settings.get("rule").textValue());
    assertEquals("base", settings.get("norms").textValue());
    assertEquals("beam", settings.get("search").textValue());
    assertTrue(settings.get("beamWidth").intValue() > 1);
    assertEquals(5, settings.get("targetLayers").intValue());
    assertEquals(5, layers(out));
    JsonNode parent = JsonNodeFactory.instance.nullNode();
    int depth = 8;
    for (JsonNode trial : report.get("trials")) {
      assertEquals(
          "rule objective parent",
          String.join(" ", keys(trial).reversed().subList(0, 3).reversed()));
      if (trial.get("accepted").booleanValue()) {
        assertEquals(parent, trial.get("parent"));
        assertEquals(depth, trial.get("layersBefore").intValue());
        parent = trial.get("step");
        depth -= trial.get("merged").intValue();
      }
    }
    assertEquals(5, depth);
    assertEquals(
        report.get("finalSimilarity"), report.get("trials").get(parent.intValue()).get("mean"));
  }

  @Test
  void aSizeInBytesIsTheDeepestModelThatFits() throws Exception {
    Path six = folder.resolve("six");
    prune(six, "--target-layers", 6).succeeded();
    long bytes = Safetensors.readAll(six).values().stream().mapToLong(t -> t.bytes().length).sum();
    Path out = folder.resolve("out");
    prune(out, "--target-bytes", bytes + "B").succeeded();
    TestFiles.assertSameTree(six, out);
    prune(out, "--target-bytes", (bytes - 1) + "B", "--overwrite").succeeded();
    assertEquals(5, layers(out));
  }

  @Test
  void greedyIsABeamOfOneModel() {
    JsonNode report = prune("--dry-run", "--json", "--search", "greedy").succeeded().json();
    assertEquals(1, report.get("settings").get("beamWidth").intValue());
    assertEquals("greedy", report.get("settings").get("search").textValue());
    assertEquals(6, report.get("layersOut").intValue());
  }

  @Test
  void aBudgetEndsASearchWithAModelOfTheSizeAskedFor() {
    JsonNode report =
        prune("--dry-run", "--json", "--target-layers", 3, "--search-budget", "2sweeps")
            .succeeded()
            .json();
    assertEquals(3, report.get("layersOut").intValue());
    assertEquals("2sweeps", report.get("settings").get("searchBudget").textValue());
  }

  private static long parameters(Path model) {
    return Safetensors.readAll(model).values().stream()
        .mapToLong(Safetensors.Tensor::elements)
        .sum();
  }

  private static List<String> keys(JsonNode object) {
    return object.properties().stream().map(java.util.Map.Entry::getKey).toList();
  }

  private static void assertKeys(JsonNode object, String expected) {
    assertEquals(expected, String.join(" ", keys(object)));
  }

  @Test
  void jsonIsOneDocumentOfEveryCommand() {
    Path plan = planOf(folder.resolve("plan.json"));
    assertKeys(
        Laco.run("apply", plan, MODEL, folder.resolve("out"), "--json").succeeded().json(),
        "layersIn layersOut bytes");
    assertKeys(
        Laco.run("eval", MODEL, "--tokens", calibration, "--json").succeeded().json(),
        "tokens meanNll perplexity byPart");
    JsonNode inspected = Laco.run("inspect", MODEL, "--json").succeeded().json();
    assertKeys(
        inspected,
        "architecture modelType layers parameters dtype bytes files supported parts prunedConfig"
            + " rules loaders digest");
    assertEquals(parameters(MODEL), inspected.get("parameters").longValue());
    assertEquals("f32", inspected.get("dtype").textValue());
    assertKeys(
        Laco.run("generate", Fixtures.STORYTELLER, "--prompt", "The", "--max-tokens", 2, "--json")
            .succeeded()
            .json(),
        "prompt text promptTokens newTokens temperature topK topP minP repetitionPenalty seed");
    assertTrue(Laco.run("doctor", "--json").succeeded().json().get("cpu").isTextual());
  }

  @Test
  void quietLeavesResultsOnly() {
    Path plan = folder.resolve("plan.json");
    ProgramRun prune = prune("--dry-run", "--quiet", "--plan", plan).succeeded();
    assertTrue(prune.out().startsWith("result  "), prune.out());
    assertEquals("", prune.err());
    ProgramRun eval = Laco.run("eval", MODEL, "--tokens", calibration, "--quiet").succeeded();
    assertTrue(eval.out().matches("perplexity .*\\R"), eval.out());
    assertEquals("", eval.err());
    ProgramRun json = prune("--dry-run", "--quiet", "--json");
    assertEquals("", json.err());
    assertEquals(8, json.json().get("layersIn").intValue());
  }

  @Test
  void aDryRunWritesOnlyWhatIsNamed() {
    List<String> before = TestFiles.names(folder);
    ProgramRun run = prune("--dry-run").succeeded();
    assertTrue(run.out().contains("search       the best of "), run.out());
    assertEquals(before, TestFiles.names(folder));
    Path plan = folder.resolve("deep/er/plan.json");
    Path report = folder.resolve("report.json");
    prune("--dry-run", "--plan", plan, "--report", report).succeeded();
    assertEquals(List.of("plan.json"), TestFiles.names(plan.getParent()));
    JsonNode written = Fixtures.read(report);
    assertEquals(Fixtures.read(plan), written.get("plan"));
    assertTrue(written.get("timings").get("writeSeconds").isNull());
    assertUsageError(prune(), "OUT is missing", "laco prune");
    assertUsageError(
        prune(folder.resolve("out"), "--dry-run"), "--dry-run writes no OUT", "laco prune");
  }

  @ParameterizedTest
  @ValueSource(strings = {"%s/out", "%s/out/", "%s/./x/../out", "%s/new/parents/out"})
  void theReportLiesBesideTheTargetHoweverItIsNamed(String form) {
    for (Path base : List.of(folder, Path.of("").toAbsolutePath().relativize(folder))) {
      String out = String.format(Locale.ROOT, form, base);
      Path report = Path.of(Path.of(out).normalize() + ".report.json");
      ProgramRun run = prune(out, "--overwrite", "--threshold", 1).succeeded();
      assertTrue(run.out().contains("report       " + report + "\n"), run.out());
      assertEquals(8, Fixtures.read(report).get("layersOut").intValue());
      assertEquals(8, layers(Path.of(out).normalize()));
    }
  }

  private static int layers(Path model) {
    return Fixtures.read(model.resolve("config.json")).get("num_hidden_layers").intValue();
  }

  @Test
  void planReportAndPageGoWhereTheyAreNamed() {
    Path out = folder.resolve("out");
    Path plan = folder.resolve("p.json");
    Path report = folder.resolve("r.json");
    prune(out, "--plan", plan, "--report", report, "--html", folder.resolve("s.html")).succeeded();
    assertEquals(
        List.of(calibration.getFileName().toString(), "out", "p.json", "r.json", "s.html"),
        TestFiles.names(folder));
    assertEquals(
        TestCheckpoints.read(plan).length,
        TestCheckpoints.read(out.resolve("laco_plan.json")).length);
    assertEquals(Fixtures.read(plan), Fixtures.read(report).get("plan"));
  }

  @Test
  void filesAreRefusedWhereTheyWouldDamageSomething() throws Exception {
    Path out = folder.resolve("out");
    Path model = TestCheckpoints.copy(PrunedFixture.NAME, folder.resolve("model"));
    Path config = model.resolve("config.json");
    byte[] before = Files.readAllBytes(config);
    Object[][] refused = {
      {"--report", out.resolve("r.json"), "lies inside OUT"},
      {"--plan", out.resolve("p.json"), "lies inside OUT"},
      {"--plan", config, "lies inside MODEL"},
      {"--report", folder, "exists and is not a regular file"},
      {"--report", "/dev/null", "exists and is not a regular file"},
      {"--plan", folder.resolve("out.report.json"), "the name of two files"},
      {"--plan", calibration.resolve("p.json"), "is not a folder"},
    };
    for (Object[] r : refused) {
      ProgramRun run = Laco.run("prune", model, out, "--calibration", calibration, r[0], r[1]);
      assertUsageError(run, (String) r[2], "laco prune");
    }
    ProgramRun dump = Laco.run("eval", model, "--tokens", calibration, "--dump", config);
    assertUsageError(dump, "lies inside MODEL", "laco eval");
    assertEquals(new String(before, UTF_8), Files.readString(config));
    assertFalse(Files.exists(out));
  }

  @Test
  void onlyPlansAndReportsOfOursAreReplacedUnlessThatIsAskedFor() throws Exception {
    Path file = folder.resolve("file.json");
    for (String option : List.of("--plan", "--report")) {
      Files.deleteIfExists(file);
      Object[] run = {"--dry-run", "--rule", "drop", option, file};
      for (String theirs : List.of("{\"name\": 1, \"plan\": {}}", "my notes", "[1]")) {
        TestFiles.write(file, theirs);
        assertUsageError(
            prune(run),
            theirs.startsWith("{")
                ? "of laco's but JSON with name, plan; choose another name, or give --overwrite"
                : "of laco's but another file; choose",
            "laco prune");
        assertEquals(theirs, Files.readString(file));
      }
      TestFiles.write(file, "");
      prune(run).succeeded();
      prune(run).succeeded();
      TestFiles.write(file, "my notes");
      prune("--dry-run", "--rule", "drop", "--overwrite", option, file).succeeded();
      assertTrue(Fixtures.read(file).isObject());
    }
    TestFiles.write(folder.resolve("out.report.json"), "my notes");
    assertUsageError(prune(folder.resolve("out")), "out.report.json: is there and", "laco prune");
    assertFalse(Files.exists(folder.resolve("out")));
  }

  @Test
  void theTargetIsNeverTheModelNorPartOfItNorAroundIt() {
    Path model = TestCheckpoints.copy(PrunedFixture.NAME, folder.resolve("around/model"));
    Object[][] refused = {
      {model, "is itself the model"},
      {model.resolve("out"), "is inside the model"},
      {model.getParent(), "holds the model"},
      {calibration, "exists and is not a folder"},
      {calibration.resolve("out"), "is not a folder"},
    };
    for (Object[] r : refused) {
      ProgramRun run = Laco.run("prune", model, r[0], "--calibration", calibration, "--overwrite");
      assertUsageError(run, (String) r[1], "laco prune");
    }
    assertEquals(TestFiles.names(MODEL), TestFiles.names(model));
  }

  @Test
  void aTargetThatHoldsFilesIsReplacedOnlyOnDemand() {
    Path out = folder.resolve("out");
    prune(out, "--threshold", 1).succeeded();
    TestFiles.write(out.resolve("mine.txt"), "kept");
    assertUsageError(prune(out), "--overwrite", "laco prune");
    assertTrue(Files.exists(out.resolve("mine.txt")));
    assertEquals(8, layers(out));
    prune(out, "--target-layers", 6, "--overwrite").succeeded();
    assertEquals(6, layers(out));
    assertFalse(Files.exists(out.resolve("mine.txt")));
    assertEquals(6, Fixtures.read(folder.resolve("out.report.json")).get("layersOut").intValue());
  }

  @Test
  void aFailedOverwriteKeepsTheOldTree() {
    String half = "llama_mha_bias_f16";
    Path tokens = Fixtures.tokens(folder, half, "calib");
    Path plan = folder.resolve("plan.json");
    Path out = folder.resolve("out");
    Laco.run(
            "prune",
            Fixtures.model(half),
            out,
            "--calibration",
            tokens,
            "--plan",
            plan,
            "--target-layers",
            6)
        .succeeded();
    List<String> before = TestFiles.names(folder);
    var tree = TestFiles.tree(out);
    ObjectNode tooLarge = (ObjectNode) Fixtures.read(plan);
    ((ObjectNode) tooLarge.get("layers").get(0)).putObject("mix").put("0", 1.0).put("1", 1e30);
    TestFiles.write(plan, tooLarge.toString());
    ProgramRun run = Laco.run("apply", plan, Fixtures.model(half), out, "--overwrite");
    assertEquals(3, run.code());
    assertTrue(run.err().contains("the mix has values that F16 cannot hold"), run.err());
    assertEquals(1, run.err().lines().count());
    assertEquals(tree, TestFiles.tree(out));
    assertEquals(before, TestFiles.names(folder));
  }

  @Test
  void withoutAnAcceptedMergeAnUnchangedCopyIsWrittenAndSaid() {
    Path out = folder.resolve("out");
    ProgramRun run = prune(out, "--threshold", 1).succeeded();
    assertTrue(run.out().contains("no merge was accepted"), run.out());
    JsonNode report = Fixtures.read(folder.resolve("out.report.json"));
    assertEquals(1.0, report.get("finalSimilarity").doubleValue());
    assertTrue(report.get("trials").size() > 0);
    report.get("trials").forEach(trial -> assertFalse(trial.get("accepted").booleanValue()));
    assertEquals(8, layers(out));
    var original = Safetensors.readAll(MODEL);
    var copy = Safetensors.readAll(out);
    assertEquals(original.keySet(), copy.keySet());
    original.forEach(
        (name, tensor) -> assertTrue(Arrays.equals(tensor.bytes(), copy.get(name).bytes()), name));
  }

  @Test
  void withoutATokenizerPerplexityIsNotMeasuredAndThatIsSaid() {
    Path out = folder.resolve("out");
    ProgramRun run = prune(out).succeeded();
    assertTrue(run.out().contains("perplexity   not measured: "), run.out());
    JsonNode quality = Fixtures.read(folder.resolve("out.report.json")).get("quality");
    assertKeys(quality, "notMeasured");
    assertTrue(quality.get("notMeasured").textValue().contains("tokenizer"));
  }

  @Test
  void calibrationTextWithoutATokenizerAsksForTokenIds() {
    Path text = TestFiles.write(folder.resolve("text.txt"), "A sample.\n");
    Path out = folder.resolve("out");
    for (ProgramRun run :
        List.of(
            Laco.run("prune", MODEL, out),
            Laco.run("prune", MODEL, out, "--calibration", text),
            prune(out, "--eval-text", text),
            Laco.run("eval", MODEL),
            Laco.run("eval", MODEL, "--text", text))) {
      assertEquals(3, run.code(), run.err());
      assertTrue(
          run.err().matches("laco: .*token ids.*\\[\\[1, 15, 8], \\.\\.\\.].*\\R"), run.err());
    }
    assertFalse(Files.exists(out));
  }

  @Test
  void aModelThatBecomesTwiceAsPerplexedIsAWarningWithBothNumbers() {
    ProgramRun run = Laco.run("prune", Fixtures.STORYTELLER, "--dry-run", "--threshold", 0.6);
    assertTrue(
        run.succeeded()
            .err()
            .matches(
                "laco: warning: perplexity rose from \\d+\\.\\d\\d to \\d+\\.\\d\\d: .*Try .*\\R"),
        run.err());
    ProgramRun mild = Laco.run("prune", Fixtures.STORYTELLER, "--dry-run", "--threshold", 0.95);
    assertEquals("", mild.succeeded().err());
  }

  @Test
  void aPlanOfAnotherModelIsBadInput() {
    Path plan = planOf(folder.resolve("plan.json"));
    ProgramRun run = Laco.run("apply", plan, Fixtures.model("llama_linear"), folder.resolve("out"));
    assertEquals(3, run.code());
    assertTrue(run.err().startsWith("laco: the plan is for another model than"), run.err());
    assertEquals(1, run.err().lines().count());
    assertFalse(Files.exists(folder.resolve("out")));
  }

  @Test
  void aConfigThatCannotBeReindexedIsRefusedBeforeTheSearch() {
    Path model = TestCheckpoints.copy(PrunedFixture.NAME, folder.resolve("model"));
    TestCheckpoints.edit(
        model.resolve("config.json"),
        text -> text.replaceFirst("\\{", "{\"attn_layer_period\": 2,"));
    ProgramRun run = Laco.run("prune", model, folder.resolve("out"), "--calibration", calibration);
    assertEquals(3, run.code());
    assertTrue(run.err().contains("attn_layer_period"), run.err());
    assertEquals("", run.out());
  }

  @Test
  void aModelThatIsNotSupportedCanBeLookedAt() {
    Path model = TestCheckpoints.copy(PrunedFixture.NAME, folder.resolve("model"));
    TestCheckpoints.edit(
        model.resolve("config.json"), text -> text.replace("LlamaForCausalLM", "MambaForCausalLM"));
    ProgramRun inspected = Laco.run("inspect", model, "--json");
    assertEquals(3, inspected.code());
    assertTrue(inspected.err().startsWith("laco: "), inspected.err());
    JsonNode found = inspected.json();
    assertFalse(found.get("supported").booleanValue());
    assertTrue(found.get("reason").textValue().contains("MambaForCausalLM is not supported"));
    assertEquals(parameters(MODEL), found.get("parameters").longValue());
    ProgramRun run = Laco.run("prune", model, "--dry-run");
    assertEquals(3, run.code());
  }

  @Test
  void shardsAreNoLargerThanAsked() throws Exception {
    Path out = folder.resolve("out");
    prune(out, "--max-shard-size", "200KB").succeeded();
    List<String> shards =
        TestFiles.names(out).stream().filter(name -> name.endsWith(".safetensors")).toList();
    assertTrue(shards.size() > 1);
    for (String shard : shards) {
      assertTrue(Files.size(out.resolve(shard)) <= 200_000, shard);
    }
    assertNotEquals(-1, TestFiles.names(out).indexOf("model.safetensors.index.json"));
    assertEquals(
        Laco.run("eval", MODEL, "--tokens", calibration, "--json").json().get("tokens"),
        Laco.run("eval", out, "--tokens", calibration, "--json").json().get("tokens"));
  }
}
