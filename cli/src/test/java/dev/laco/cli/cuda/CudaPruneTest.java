package dev.laco.cli.cuda;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import com.fasterxml.jackson.databind.JsonNode;
import dev.laco.Fixtures;
import dev.laco.backend.cuda.FreshDevice;
import dev.laco.cli.Laco;
import dev.laco.cli.StoredRuns;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Set;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Whole prunes on the emulated device take the decisions of the stored runs. */
@ExtendWith(FreshDevice.class)
class CudaPruneTest extends StoredRuns {
  /** How far similarities of a 16-bit run may be from those of a float32 one (design: numbers). */
  private static final double HALVES = 2e-3;

  /** One of each dtype, and of each kind of layers; CudaParityTest repeats the runs of all. */
  private static final Set<String> FIXTURES =
      Set.of(
          "llama_untied_gqa",
          "llama_mha_bias_f16",
          "llama_tied_rope3",
          "qwen3_qknorm",
          "phi3_std",
          "gemma3_std");

  static Stream<String> fixtures() {
    return Fixtures.withRun("paper").filter(FIXTURES::contains);
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

  /** Products on tensor cores, 16-bit attention, matrices that are mixed in the product. */
  @ParameterizedTest
  @ValueSource(strings = {"llama_tied_rope3", "llama_mha_bias_f16", "mistral_std"})
  void theWeightsOwnTypeTakesTheSameDecisions(String name) {
    assumeIsHere(Fixtures.model(name));
    JsonNode stored = Fixtures.json(name, "expected.json").get("runs").get("paper");
    JsonNode report =
        prune(
            Fixtures.model(name),
            name,
            stored,
            Fixtures.tokens(folder, name, "eval"),
            folder.resolve("out"),
            "--device",
            "cuda",
            "--compute",
            "auto");
    assertTrialsMatch(stored, report, HALVES);
  }

  @Test
  void generatesWhatTheProcessorGenerates() {
    assumeIsHere(Fixtures.STORYTELLER);
    String expected = generate("cpu");
    assertEquals(expected, generate("cuda"));
  }

  /** The archive for GPU nodes has fewer models, and nothing that the processor multiplies with. */
  private static void assumeIsHere(Path model) {
    assumeTrue(Files.isDirectory(model), () -> model + " is not in this archive");
  }

  private static String generate(String device) {
    return Laco.run(
            "generate",
            Fixtures.STORYTELLER,
            "--prompt",
            "Once",
            "--max-tokens",
            4,
            "--temperature",
            0,
            "--compute",
            "f32",
            "--device",
            device)
        .succeeded()
        .out();
  }
}
