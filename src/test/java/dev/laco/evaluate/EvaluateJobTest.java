package dev.laco.evaluate;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import dev.laco.Cancellation;
import dev.laco.CancelledException;
import dev.laco.DeviceSettings;
import dev.laco.Fixtures;
import dev.laco.JobEvent;
import dev.laco.Model;
import dev.laco.Passages;
import dev.laco.UsageException;
import dev.laco.checkpoint.Checkpoint;
import dev.laco.checkpoint.TestCheckpoints;
import dev.laco.checkpoint.WeightFile;
import dev.laco.checkpoint.export.GgufExport;
import dev.laco.checkpoint.gguf.GgufType;
import dev.laco.model.ModelConfig;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** An evaluation without a command line. */
final class EvaluateJobTest {
  private static final String FIXTURE = "llama_untied_gqa";
  private static final Path MODEL = Fixtures.model(FIXTURE);
  private static final DeviceSettings CPU = DeviceSettings.of("cpu").withThreads(1);

  @TempDir Path folder;

  @Test
  void aCancelledEvaluationLeavesNothing() {
    Path dump = folder.resolve("dump.safetensors");
    Cancellation token = new Cancellation();
    try (Model model = Model.open(MODEL)) {
      EvaluateJob job =
          job(model)
              .dumpTo(dump)
              .cancelledBy(token)
              .listener(
                  event -> {
                    if (event instanceof JobEvent.MemoryPlanned) {
                      token.cancel();
                    }
                  });
      assertThrows(CancelledException.class, job::run);
    }
    assertFalse(Files.exists(dump));
  }

  /** Measured by then, and with half of the file still to be written. */
  @Test
  void anEvaluationThatIsCancelledWhileItWritesLeavesNothing() {
    Path dump = folder.resolve("dump.safetensors");
    Cancellation token = new Cancellation();
    List<JobEvent> told = new ArrayList<>();
    try (Model model = Model.open(MODEL)) {
      EvaluateJob job = job(model).dumpTo(dump).cancelledBy(token);
      job.listener(
          event -> {
            told.add(event);
            if (event instanceof JobEvent.Measured) {
              token.cancel();
            }
          });
      assertThrows(CancelledException.class, job::run);
    }
    assertTrue(told.getLast() instanceof JobEvent.Measured, told::toString);
    assertFalse(Files.exists(dump));
  }

  @Test
  void throughputIsThatOfAllModelsInTurn() {
    try (Model dense = Model.open(MODEL);
        Model other = Model.open(Fixtures.model("qwen3_qknorm"))) {
      EvaluateResult.OfThroughput result =
          (EvaluateResult.OfThroughput)
              new EvaluateJob(dense, CPU, new EvaluateRequest.Speed())
                  .against(List.of(other))
                  .run();
      assertEquals(List.of(MODEL, other.directory()), models(result));
      assertNull(result.models().get(0).prefill().interval());
      for (Throughput.Rate rate :
          List.of(result.models().get(1).prefill(), result.models().get(1).decoding())) {
        Interval interval = rate.interval();
        assertNotNull(interval);
        assertTrue(interval.low() > 0 && interval.low() <= rate.speedup());
        assertTrue(rate.speedup() <= interval.high() && rate.tokensPerSecond() > 0);
      }
      Throughput measured = result.models().get(0);
      assertEquals(dense.checkpoint().weightBytes(), measured.weightBytes());
      ModelConfig config = dense.config();
      // Keys and values in 16 bits.
      assertEquals(
          2L * 2 * config.numHiddenLayers() * config.numKeyValueHeads() * config.headDim(),
          measured.cacheBytes());
      JsonNode json = EvaluateJson.of(result).get("throughput");
      assertEquals(4096 * measured.cacheBytes(), json.at("/models/0/cacheBytesAt4096").longValue());
      assertFalse(json.at("/models/0/prefill").has("speedup"));
      assertTrue(json.at("/models/1/decoding").has("speedup"));
    }
  }

  /** The speed of tasks is measured by models of their own; then memory is planned once more. */
  @Test
  void whatMeasuredTheSpeedHoldsNoStreamedWeights() {
    Path file = folder.resolve("quantised.gguf");
    try (Checkpoint checkpoint = Checkpoint.open(Fixtures.STORYTELLER)) {
      new GgufExport(checkpoint, GgufType.Q8_0, warning -> {}).write(file, bytes -> {});
    }
    EvaluateRequest request =
        new EvaluateRequest.Tasks(
            List.of("laco_copy", "laco_repetition"), null, 2, null, null, 20.0);
    List<List<String>> inMemory = new ArrayList<>();
    try (Model model = Model.open(file)) {
      new EvaluateJob(model, CPU.withMemory(null, 176_000_000L), request)
          .listener(
              event -> {
                if (event instanceof JobEvent.MemoryPlanned planned) {
                  assertTrue(planned.toString().contains("streaming"), planned::toString);
                  inMemory.add(TestCheckpoints.decoded(model.checkpoint()));
                }
              })
          .run();
    }
    assertTrue(inMemory.size() > 1);
    assertEquals(Collections.nCopies(inMemory.size(), List.of()), inMemory);
  }

  private static List<Path> models(EvaluateResult.OfThroughput result) {
    return result.models().stream().map(Throughput::model).toList();
  }

  @Test
  void tellsWhatItMeasuredAndWrote() {
    Path dump = folder.resolve("dump.safetensors");
    List<JobEvent> told = new ArrayList<>();
    try (Model model = Model.open(MODEL)) {
      EvaluateResult result = job(model).dumpTo(dump).listener(told::add).run();
      EvaluateResult.OfText text = (EvaluateResult.OfText) result;
      long tensors;
      try (WeightFile file = WeightFile.open(dump)) {
        tensors = file.tensors().stream().mapToLong(info -> info.elements() * Float.BYTES).sum();
      }
      assertEquals(
          List.of(
              new JobEvent.Measured("perplexity", text.text(), text.perplexity()),
              new JobEvent.FileWritten(dump, tensors)),
          told.subList(told.size() - 2, told.size()));
    }
  }

  @Test
  void theTimeOfAJobBeginsWhenItRuns() throws InterruptedException {
    try (Model model = Model.open(Fixtures.model(FIXTURE))) {
      EvaluateJob job = job(model);
      Thread.sleep(50);
      long before = System.nanoTime();
      job.run();
      assertTrue(job.progress().seconds() <= (System.nanoTime() - before) / 1e9);
    }
  }

  private EvaluateJob job(Model model) {
    return new EvaluateJob(
        model, CPU, new EvaluateRequest.Tokens(Fixtures.tokens(folder, FIXTURE, "eval")));
  }

  @Test
  void whatCannotBeMetIsSaidInTheWordsOfARequest() {
    UsageException stride =
        assertThrows(UsageException.class, () -> new EvaluateRequest.Text(null, null, 0, null));
    assertEquals("stride 0: expected at least 1", stride.getMessage());
    assertEquals(
        new EvaluateRequest.LastWords(new Passages(null)),
        new EvaluateRequest.LastWords(Passages.BUILT_IN));
  }
}
