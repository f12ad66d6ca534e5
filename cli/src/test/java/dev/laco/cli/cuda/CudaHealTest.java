package dev.laco.cli.cuda;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import dev.laco.Fixtures;
import dev.laco.backend.cuda.FreshDevice;
import dev.laco.cli.Laco;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.api.io.TempDir;

/**
 * A heal on the emulated device: what it writes is what it measured, and the device is left empty.
 */
@ExtendWith(FreshDevice.class)
class CudaHealTest {
  private static final String FIXTURE = "llama_tied_rope3";
  private static final Path MODEL = Fixtures.model(FIXTURE);

  @TempDir Path folder;

  @Test
  void theCheckpointIsTheModelThatTheReportTellsOf() {
    Path pruned = folder.resolve("pruned");
    Path healed = folder.resolve("healed");
    Path tokens = Fixtures.tokens(folder, FIXTURE, "calib");
    Laco.run(
            "prune",
            MODEL,
            pruned,
            "--threshold",
            0.01,
            "--rule",
            "drop",
            "--calibration",
            tokens,
            "--eval-tokens",
            tokens)
        .succeeded();
    JsonNode report =
        Laco.run(
                "heal",
                pruned,
                healed,
                "--teacher",
                MODEL,
                "--device",
                "cuda",
                "--compute",
                "f32",
                "--heal-text",
                tokens,
                "--eval-tokens",
                tokens,
                "--heal-tokens",
                60,
                "--step-tokens",
                20,
                "--json")
            .json();
    assertTrue(report.get("device").textValue().startsWith("cuda:0 ("), report.toString());
    JsonNode alone =
        Laco.run("eval", healed, "--tokens", tokens, "--compute", "f32", "--json").json();
    double expected = report.at("/quality/after/perplexity").doubleValue();
    assertEquals(expected, alone.get("perplexity").doubleValue(), 1e-3 * expected);
  }
}
