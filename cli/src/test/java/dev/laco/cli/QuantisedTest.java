package dev.laco.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import dev.laco.Fixtures;
import dev.laco.ProgramRun;
import dev.laco.TestFiles;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Checkpoints of float8 and int8: commands give what they give of the weights that these are. */
class QuantisedTest {
  private static final Path QUANTISED = Fixtures.RESOURCES.resolve("quantised");

  @TempDir Path folder;
  private Path tokens;

  @BeforeEach
  void writeTokens() {
    tokens = TestFiles.write(folder.resolve("tokens.json"), "[[1,5,9,33,63,2,7],[4,4,8,60,11,3]]");
  }

  @ParameterizedTest
  @ValueSource(strings = {"fp8_block", "int8_channel"})
  void whatIsWrittenIsNoLongerQuantised(String name) throws IOException {
    Path model = QUANTISED.resolve(name).resolve("model");
    Path weights = weights(name);
    Path found = folder.resolve("found");
    Path expected = folder.resolve("expected");
    prune(model, found);
    prune(weights, expected);
    for (String file : new String[] {"config.json", "model.safetensors"}) {
      assertEquals(-1, Files.mismatch(expected.resolve(file), found.resolve(file)), file);
    }
    assertFalse(Fixtures.read(found.resolve("config.json")).has("quantization_config"));
    assertEquals(eval(weights).get("meanNll"), eval(model).get("meanNll"));
  }

  /** A checkpoint of the weights themselves. */
  private Path weights(String name) throws IOException {
    Path weights = Files.createDirectories(folder.resolve("weights"));
    Path from = QUANTISED.resolve(name);
    Files.copy(from.resolve("expected.safetensors"), weights.resolve("model.safetensors"));
    String config = Files.readString(from.resolve("model/config.json"));
    TestFiles.write(
        weights.resolve("config.json"),
        config.replaceFirst(",\\s*\"quantization_config\": \\{[^}]*}", ""));
    return weights;
  }

  private ProgramRun prune(Path model, Path out) {
    return Laco.run(
            "prune",
            model,
            out,
            "--target-layers",
            1,
            "--rule",
            "rdsc:0.5",
            "--search",
            "laco",
            "--merge-layers",
            2,
            "--lowest",
            0,
            "--calibration",
            tokens,
            "--compute",
            "f32")
        .succeeded();
  }

  private JsonNode eval(Path model) {
    return Laco.run("eval", model, "--tokens", tokens, "--compute", "f32", "--json")
        .succeeded()
        .json();
  }

  @Test
  void aRunSaysFromWhichTypeTheWeightsAre() {
    Path model = QUANTISED.resolve("fp8_block/model");
    assertTrue(
        Laco.run("inspect", model).succeeded().out().contains("bf16 from f8_e4m3"),
        Laco.run("inspect", model).out());
    ProgramRun run = prune(model, folder.resolve("out"));
    assertTrue(run.out().contains("bf16 and bf16 from f8_e4m3"), run.out());
  }
}
