package dev.laco.cli.cuda;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import dev.laco.Fixtures;
import dev.laco.backend.cuda.EmulatedDevice;
import dev.laco.cli.StoredRuns;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Whole prunes on the emulated device take the decisions of the stored runs. */
class CudaPruneTest extends StoredRuns {
  static Stream<String> fixtures() {
    return Fixtures.names();
  }

  @BeforeEach
  void reset() {
    EmulatedDevice.reset();
  }

  @AfterEach
  void nothingIsLeftOnTheDevice() {
    assertEquals(0, EmulatedDevice.liveAllocations());
  }

  @ParameterizedTest
  @MethodSource("fixtures")
  void pruneRepeatsTheStoredRun(String name) {
    JsonNode report = assertRunMatches(name, "paper", "--device", "cuda");
    assertTrue(report.get("device").textValue().startsWith("cuda:0 ("), report::toString);
  }

  @ParameterizedTest
  @ValueSource(strings = {"ffm", "jcuda"})
  void eitherBindingDoes(String binding) {
    JsonNode report =
        assertRunMatches("qwen3_qknorm", "official", "--device", "cuda", "--cuda-binding", binding);
    assertTrue(report.get("device").textValue().endsWith(binding + ")"), report::toString);
  }
}
