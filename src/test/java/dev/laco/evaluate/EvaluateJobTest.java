package dev.laco.evaluate;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import dev.laco.Cancellation;
import dev.laco.CancelledException;
import dev.laco.DeviceSettings;
import dev.laco.Fixtures;
import dev.laco.Model;
import dev.laco.UsageException;
import dev.laco.cli.Laco;
import dev.laco.run.JobEvent;
import dev.laco.run.Passages;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
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
  void measuresWhatTheCommandLinePrints() {
    Path tokens = Laco.tokens(folder, FIXTURE, "eval");
    Path byCommand = folder.resolve("command.safetensors");
    JsonNode printed =
        Laco.run(
                "eval",
                MODEL,
                "--tokens",
                tokens,
                "--device",
                "cpu",
                "--threads",
                1,
                "--dump",
                byCommand,
                "--json")
            .succeeded()
            .json();
    Path byJob = folder.resolve("job.safetensors");
    List<JobEvent> events = new ArrayList<>();
    try (Model model = Model.open(MODEL)) {
      EvaluateJob job =
          new EvaluateJob(model, CPU, new EvaluateRequest.Tokens(tokens))
              .dumpTo(byJob)
              .listener(events::add);
      if (job.run() instanceof EvaluateResult.OfText result) {
        assertEquals(printed.get("meanNll").doubleValue(), result.perplexity().meanNll());
        assertEquals(tokens.getFileName().toString(), result.text());
      } else {
        throw new AssertionError("not the perplexity of a text");
      }
    }
    assertEquals(-1, mismatch(byCommand, byJob));
    assertTrue(
        events.stream().anyMatch(event -> event instanceof JobEvent.DeviceOpened),
        events.toString());
  }

  private static long mismatch(Path a, Path b) {
    try {
      return Files.mismatch(a, b);
    } catch (java.io.IOException e) {
      throw new AssertionError(e);
    }
  }

  @Test
  void aCancelledEvaluationLeavesNothing() {
    Path dump = folder.resolve("dump.safetensors");
    Cancellation token = new Cancellation();
    try (Model model = Model.open(MODEL)) {
      EvaluateJob job =
          new EvaluateJob(
                  model, CPU, new EvaluateRequest.Tokens(Laco.tokens(folder, FIXTURE, "eval")))
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

  @Test
  void whatCannotBeMetIsSaidInTheWordsOfARequest() {
    UsageException stride =
        assertThrows(UsageException.class, () -> new EvaluateRequest.Text(null, null, 0));
    assertEquals("stride 0: expected at least 1", stride.getMessage());
    assertEquals(
        new EvaluateRequest.LastWords(new Passages(null)),
        new EvaluateRequest.LastWords(Passages.BUILT_IN));
  }
}
