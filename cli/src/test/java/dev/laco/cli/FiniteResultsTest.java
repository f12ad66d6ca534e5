package dev.laco.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import dev.laco.Fixtures;
import dev.laco.ProgramRun;
import dev.laco.TestFiles;
import dev.laco.checkpoint.TestCheckpoints;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** A model whose numbers overflow is refused, and nothing is written of it. */
class FiniteResultsTest {
  private static final String FIXTURE = "llama_tied_rope3";

  /** bf16 bits of 3e38. */
  private static final short LARGEST = 0x7f61;

  @TempDir Path folder;
  private Path model;
  private Path tokens;

  @BeforeEach
  void copy() {
    model = TestCheckpoints.copy(FIXTURE, folder.resolve("model"));
    tokens = Fixtures.tokens(folder, FIXTURE, "eval");
  }

  @ParameterizedTest
  @ValueSource(strings = {"--threshold 0.5", "--target-layers 5", "--target-layers 5 --rule fit"})
  void aModelThatOverflowsIsNotPruned(String how) throws IOException {
    fill(".*layers.0.mlp.(up|down)_proj.weight");
    Fixtures.tokens(folder, FIXTURE, "calib");
    List<String> before = TestFiles.names(folder);
    ProgramRun run = prune(how.split(" "));
    assertRefused(run);
    assertTrue(run.err().contains(model + ": none of the "), run.err());
    assertTrue(run.err().contains("NaN"), run.err());
    assertEquals(before, TestFiles.names(folder));
  }

  /** Where nothing was tried, perplexity tells. */
  @Test
  void itsPerplexityIsNamed() throws IOException {
    fill(".*layers.0.mlp.(up|down)_proj.weight");
    ProgramRun eval = Laco.run("eval", model, "--tokens", tokens);
    assertRefused(eval);
    assertTrue(
        eval.err().contains(model + ": perplexity on " + tokens.getFileName() + " is NaN"),
        eval.err());
    assertRefused(prune("--target-layers", "8"));
    ProgramRun compare = Laco.run("compare", model, "--target-layers", 5, "--eval-tokens", tokens);
    assertRefused(compare);
  }

  private static void assertRefused(ProgramRun run) {
    assertEquals(3, run.code(), run.out() + run.err());
    assertTrue(run.err().lines().filter(line -> line.startsWith("laco: ")).count() == 1, run.err());
  }

  private ProgramRun prune(String... how) {
    List<Object> all =
        new ArrayList<>(
            List.of(
                "prune",
                model,
                folder.resolve("out"),
                "--calibration",
                Fixtures.tokens(folder, FIXTURE, "calib"),
                "--eval-tokens",
                tokens,
                "--fit-text",
                Fixtures.tokens(folder, FIXTURE, "calib")));
    if (!String.join(" ", how).contains("--rule fit")) {
      all.subList(all.size() - 2, all.size()).clear();
    }
    all.addAll(Arrays.asList(how));
    return Laco.run(all.toArray());
  }

  /** Fills tensors whose names match with the largest values there are. */
  private void fill(String names) throws IOException {
    for (String name : TestFiles.names(model)) {
      if (name.endsWith(".safetensors")) {
        fill(model.resolve(name), names);
      }
    }
  }

  private static void fill(Path file, String names) throws IOException {
    ByteBuffer bytes = ByteBuffer.wrap(Files.readAllBytes(file)).order(ByteOrder.LITTLE_ENDIAN);
    int data = 8 + (int) bytes.getLong(0);
    JsonNode header = new ObjectMapper().readTree(bytes.array(), 8, data - 8);
    for (Map.Entry<String, JsonNode> entry : header.properties()) {
      if (entry.getKey().matches(names)) {
        JsonNode range = entry.getValue().get("data_offsets");
        for (int i = range.get(0).intValue(); i < range.get(1).intValue(); i += 2) {
          bytes.putShort(data + i, LARGEST);
        }
      }
    }
    Files.write(file, bytes.array());
  }
}
