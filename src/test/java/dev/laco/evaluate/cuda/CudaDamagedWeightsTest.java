package dev.laco.evaluate.cuda;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.BadInputException;
import dev.laco.ByteSize;
import dev.laco.DeviceSettings;
import dev.laco.Fixtures;
import dev.laco.LacoException;
import dev.laco.Model;
import dev.laco.backend.cuda.FreshDevice;
import dev.laco.checkpoint.TestCheckpoints;
import dev.laco.evaluate.EvaluateJob;
import dev.laco.evaluate.EvaluateRequest;
import dev.laco.prune.Goal;
import dev.laco.prune.PruneJob;
import dev.laco.prune.PruneRequest;
import dev.laco.prune.TextSettings;
import java.nio.file.Path;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** NaN and infinity in weights, which the device finds: the error is that of the processor. */
@ExtendWith(FreshDevice.class)
class CudaDamagedWeightsTest {
  private static final String FIXTURE = "llama_untied_gqa";

  @TempDir Path folder;

  @ParameterizedTest
  @CsvSource({
    "model.embed_tokens.weight, 16383, NaN",
    "model.layers.0.input_layernorm.weight, 0, Infinity",
    "model.layers.3.mlp.up_proj.weight, 10239, -Infinity",
    "model.norm.weight, 63, NaN",
    "lm_head.weight, 5, NaN"
  })
  void anEvaluationNamesTensorAndElement(String tensor, long element, float value) {
    Path damaged = TestCheckpoints.copy(FIXTURE, folder.resolve("damaged"));
    TestCheckpoints.setElement(damaged, tensor, element, value);
    String expected = refused(damaged, DeviceSettings.of("cpu"));
    assertTrue(
        expected.contains(
            "tensor '" + tensor + "' holds NaN or infinity at element " + element + " of "),
        expected);
    assertEquals(expected, refused(damaged, DeviceSettings.of("cuda")));
    // Weights are gone from the device before anybody knows what was found in them.
    String needs = refused(damaged, DeviceSettings.of("cuda").withMemory(1000L, null));
    Matcher least = Pattern.compile("need ([0-9.]+ .B),").matcher(needs);
    assertTrue(least.find(), needs);
    long streaming = ByteSize.parse(least.group(1).replace(" ", "")).bytes() * 101 / 100;
    assertEquals(expected, refused(damaged, DeviceSettings.of("cuda").withMemory(streaming, null)));
  }

  private String refused(Path damaged, DeviceSettings device) {
    Path tokens = Fixtures.tokens(folder, FIXTURE, "calib");
    try (Model model = Model.open(damaged)) {
      EvaluateJob job = new EvaluateJob(model, device, new EvaluateRequest.Tokens(tokens));
      return assertThrows(LacoException.class, job::run).getMessage();
    }
  }

  @Test
  void aSearchNamesTensorAndElement() {
    Path damaged = TestCheckpoints.copy(FIXTURE, folder.resolve("damaged"));
    TestCheckpoints.setElement(damaged, "model.layers.2.mlp.down_proj.weight", 7, Float.NaN);
    PruneRequest request =
        PruneRequest.of(Goal.layers(5))
            .withRule("drop")
            .withTexts(new TextSettings(Fixtures.tokens(folder, FIXTURE, "calib"), null, null));
    try (Model model = Model.open(damaged);
        PruneJob job = new PruneJob(model, DeviceSettings.of("cuda"), request)) {
      String message = assertThrows(BadInputException.class, job::run).getMessage();
      assertTrue(
          message.contains(
              "tensor 'model.layers.2.mlp.down_proj.weight' holds NaN or infinity at element 7 of"),
          message);
    }
  }
}
