package dev.laco.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.laco.DeviceSettings;
import dev.laco.Fixtures;
import dev.laco.Model;
import dev.laco.ProgramRun;
import dev.laco.Request;
import dev.laco.TestFiles;
import dev.laco.compare.CompareJob;
import dev.laco.compare.CompareJson;
import dev.laco.compare.CompareRequest;
import dev.laco.compare.CompareResult;
import dev.laco.compare.Strategy;
import dev.laco.evaluate.EvaluateJob;
import dev.laco.evaluate.EvaluateJson;
import dev.laco.evaluate.EvaluateRequest;
import dev.laco.generate.GenerateJob;
import dev.laco.generate.GenerateJson;
import dev.laco.generate.GenerateRequest;
import dev.laco.generate.GenerateResult;
import dev.laco.prune.Goal;
import dev.laco.prune.PruneJob;
import dev.laco.prune.PruneRequest;
import dev.laco.prune.TextSettings;
import dev.laco.prune.WriteSettings;
import dev.laco.report.PruneReport;
import dev.laco.report.ReportJson;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** A command gives what the engine gives for the same request. */
final class SameAsTheEngineTest {
  private static final String FIXTURE = "llama_untied_gqa";
  private static final Path MODEL = Fixtures.model(FIXTURE);
  private static final DeviceSettings CPU = DeviceSettings.of("cpu").withThreads(1);

  @TempDir Path folder;

  private static ProgramRun onOneThread(Object... arguments) {
    Object[] all = Arrays.copyOf(arguments, arguments.length + 4);
    System.arraycopy(new Object[] {"--device", "cpu", "--threads", 1}, 0, all, arguments.length, 4);
    return Laco.run(all).succeeded();
  }

  /** Writes by the engine what a request asks for. */
  private static PruneReport prune(PruneRequest request, Path out) {
    try (Model model = Model.open(MODEL);
        PruneJob job = new PruneJob(model, CPU, request)) {
      return job.run().writeTo(out, WriteSettings.DEFAULT);
    }
  }

  @Test
  void theRequestInAReportAsksForTheSameAgain() throws IOException {
    Path calibration = Fixtures.tokens(folder, FIXTURE, "calib");
    Path first = folder.resolve("first");
    JsonNode report =
        onOneThread(
                "prune",
                MODEL,
                first,
                "--rule",
                "drop",
                "--target-layers",
                6,
                "--calibration",
                calibration,
                "--json")
            .json();
    Path file = TestFiles.write(folder.resolve("request.json"), report.get("request").toString());
    PruneRequest request = Request.read(file, PruneRequest.class);
    assertEquals(
        PruneRequest.of(Goal.layers(6))
            .withRule("drop")
            .withTexts(new TextSettings(calibration, null, null)),
        request);
    Path byJob = folder.resolve("job");
    PruneReport again = prune(request, byJob);
    assertEquals(withoutOrigin(report), withoutOrigin(ReportJson.of(again)));
    TestFiles.assertSameTree(first, byJob);
    Path byFile = folder.resolve("file");
    onOneThread("prune", MODEL, byFile, "--request", file);
    TestFiles.assertSameTree(first, byFile);
    assertEquals(
        2,
        Laco.run("prune", MODEL, folder.resolve("no"), "--request", file, "--rule", "mean").code());
  }

  /** A report without what differs from run to run. */
  private static JsonNode withoutOrigin(JsonNode report) {
    ObjectNode copy = report.deepCopy();
    copy.remove(List.of("date", "command", "timings"));
    return asRead(copy);
  }

  @Test
  void aComparison() {
    Path calibration = Fixtures.tokens(folder, FIXTURE, "calib");
    Path tokens = Fixtures.tokens(folder, FIXTURE, "eval");
    JsonNode printed =
        onOneThread(
                "compare",
                MODEL,
                "--target-layers",
                6,
                "--strategies",
                "laco-merge,shortgpt",
                "--calibration",
                calibration,
                "--eval-tokens",
                tokens,
                "--json")
            .json();
    CompareRequest request =
        CompareRequest.of(Goal.layers(6))
            .withTexts(new TextSettings(calibration, null, tokens))
            .withStrategies(List.of(Strategy.named("laco-merge"), Strategy.named("shortgpt")));
    try (Model model = Model.open(MODEL)) {
      CompareResult result = new CompareJob(model, CPU, request).run();
      assertEquals(withoutSeconds(printed), withoutSeconds(CompareJson.of(result)));
    }
  }

  private static JsonNode withoutSeconds(JsonNode json) {
    ObjectNode copy = json.deepCopy();
    copy.get("strategies").forEach(row -> ((ObjectNode) row).remove("seconds"));
    return asRead(copy);
  }

  /** As read from a text: a number that was put as a long is one that was read as an int. */
  private static JsonNode asRead(JsonNode json) {
    return new ProgramRun(0, json.toString(), "").json();
  }

  @Test
  void anEvaluation() throws IOException {
    Path tokens = Fixtures.tokens(folder, FIXTURE, "eval");
    Path byCommand = folder.resolve("command.safetensors");
    JsonNode printed =
        onOneThread("eval", MODEL, "--tokens", tokens, "--dump", byCommand, "--json").json();
    Path byJob = folder.resolve("job.safetensors");
    try (Model model = Model.open(MODEL)) {
      EvaluateJob job =
          new EvaluateJob(model, CPU, new EvaluateRequest.Tokens(tokens)).dumpTo(byJob);
      assertEquals(printed, asRead(EvaluateJson.of(job.run())));
    }
    assertEquals(-1, Files.mismatch(byCommand, byJob));
  }

  @Test
  void aGeneration() {
    GenerateRequest request =
        GenerateRequest.of("Once upon a time").withMaxTokens(6).withSampling(0.7, 0.9, 5);
    JsonNode printed =
        onOneThread(
                "generate",
                Fixtures.STORYTELLER,
                "--prompt",
                request.prompt(),
                "--max-tokens",
                request.maxTokens(),
                "--temperature",
                request.temperature(),
                "--top-k",
                request.topK(),
                "--top-p",
                request.topP(),
                "--min-p",
                request.minP(),
                "--repetition-penalty",
                request.repetitionPenalty(),
                "--seed",
                request.seed(),
                "--json")
            .json();
    try (Model model = Model.open(Fixtures.STORYTELLER)) {
      GenerateResult result = new GenerateJob(model, CPU, request).run();
      assertEquals(printed, asRead(GenerateJson.of(request, result)));
    }
  }
}
