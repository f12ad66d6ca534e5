package dev.laco.evaluate.cuda;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.DeviceSettings;
import dev.laco.Fixtures;
import dev.laco.Model;
import dev.laco.TestFiles;
import dev.laco.backend.cuda.EmulatedDevice;
import dev.laco.backend.cuda.FreshDevice;
import dev.laco.backend.cuda.OnStandIn;
import dev.laco.evaluate.EvaluateJob;
import dev.laco.evaluate.EvaluateRequest;
import dev.laco.evaluate.EvaluateResult;
import java.nio.file.Path;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.api.io.TempDir;

/** A GPU takes large batches where no setting bounds its memory. */
@OnStandIn
@ExtendWith(FreshDevice.class)
class CudaBatchesTest {
  private static final long BOUND = 1L << 30;

  @TempDir Path folder;

  @Test
  void aLargeBatchGivesTheSamePerplexityWithFewerLaunches() {
    String lists =
        IntStream.range(0, 24)
            .mapToObj(
                list ->
                    IntStream.range(0, 64)
                        .mapToObj(i -> String.valueOf((list * 31 + i * i) % 256))
                        .collect(Collectors.joining(",", "[", "]")))
            .collect(Collectors.joining(",", "[", "]"));
    Path tokens = TestFiles.write(folder.resolve("tokens.json"), lists);
    double expected = nll(tokens, DeviceSettings.of("cuda").withMemory(BOUND, null));
    long small = EmulatedDevice.launches();
    assertEquals(expected, nll(tokens, DeviceSettings.of("cuda")), 1e-6 * expected);
    long large = EmulatedDevice.launches() - small;
    assertTrue(large < 0.7 * small, large + " launches, of small batches " + small);
  }

  private static double nll(Path tokens, DeviceSettings device) {
    try (Model model = Model.open(Fixtures.model("llama_untied_gqa"))) {
      EvaluateResult result =
          new EvaluateJob(model, device, new EvaluateRequest.Tokens(tokens)).run();
      return ((EvaluateResult.OfText) result).perplexity().meanNll();
    }
  }
}
