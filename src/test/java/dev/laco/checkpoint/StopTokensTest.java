package dev.laco.checkpoint;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.Fixtures;
import dev.laco.checkpoint.export.GgufExport;
import dev.laco.checkpoint.gguf.GgufType;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class StopTokensTest {
  @TempDir Path folder;

  @Test
  void aFolderSaysThem() {
    assertEquals(Set.of(2), of(Fixtures.STORYTELLER));
  }

  /** A GGUF file names one EOS; a turn of a chat may end at another token. */
  @ParameterizedTest
  @CsvSource({
    "<nothing>, false",
    "<|im_end|>, true",
    "<end_of_turn>, true",
    "<|end|>, true",
    "<|end_of_text|>, true"
  })
  void aGgufFileHasEndsOfTurnsToo(String first, boolean ends) throws IOException {
    Path model = copy();
    for (String name : new String[] {"tokenizer.json", "tokenizer_config.json"}) {
      TestCheckpoints.edit(model.resolve(name), text -> text.replace("<unk>", first));
    }
    Path file = export(model, new ArrayList<>());
    assertEquals(ends ? Set.of(0, 2) : Set.of(2), of(file));
    try (Checkpoint checkpoint = Checkpoint.open(file)) {
      // As in a config that was read from a file, where those who ask for an id look for an int.
      assertTrue(checkpoint.configJson().path("eos_token_id").isInt());
    }
  }

  /**
   * Tokens that nobody knows by their texts are ends of a turn and of a message, as {@code
   * <|user|>} of a GLM-4 is the end of a turn by llama.cpp's converter. A file that is made of the
   * file has them, too.
   */
  @ParameterizedTest
  @CsvSource({
    "<nothing>, '[2, 5, 9]', 5, 9, false",
    "<nothing>, '[9, 2]', 9, null, false",
    "<|im_end|>, '[2, 0, 5]', null, 5, false",
    "<|eot_id|>, '[2, 0, 5, 9]', null, 5, true",
    "<nothing>, '[2]', null, null, false"
  })
  void aGgufFileHasAllThatTheFolderHas(
      String first, String ends, String turn, String message, boolean lacks) throws IOException {
    Path model = copy();
    TestCheckpoints.edit(model.resolve("tokenizer.json"), text -> text.replace("<unk>", first));
    Files.writeString(model.resolve("generation_config.json"), "{\"eos_token_id\": " + ends + "}");
    List<String> warnings = new ArrayList<>();
    Path file = export(model, warnings);
    try (Checkpoint checkpoint = Checkpoint.open(file)) {
      Map<String, String> metadata = checkpoint.metadata();
      assertEquals("2", metadata.get("tokenizer.ggml.eos_token_id"));
      assertEquals(turn, "" + metadata.get("tokenizer.ggml.eot_token_id"));
      assertEquals(message, "" + metadata.get("tokenizer.ggml.eom_token_id"));
    }
    assertEquals(
        lacks,
        warnings.stream().anyMatch(line -> line.contains("also at the token")),
        "" + warnings);
    if (!lacks) {
      assertEquals(of(model), of(file));
      Path again = folder.resolve("again.gguf");
      try (Checkpoint checkpoint = Checkpoint.open(file)) {
        new GgufExport(checkpoint, GgufType.Q8_0, warning -> {}).write(again, bytes -> {});
      }
      assertEquals(of(model), of(again));
    }
  }

  private Path copy() throws IOException {
    Path model = Files.createDirectory(folder.resolve("model"));
    for (String name :
        new String[] {
          "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"
        }) {
      Files.copy(Fixtures.STORYTELLER.resolve(name), model.resolve(name));
    }
    return model;
  }

  private Path export(Path model, List<String> warnings) {
    Path file = folder.resolve("out.gguf");
    try (Checkpoint checkpoint = Checkpoint.open(model)) {
      new GgufExport(checkpoint, GgufType.BF16, warnings::add).write(file, bytes -> {});
    }
    return file;
  }

  private static Set<Integer> of(Path path) {
    try (Checkpoint model = Checkpoint.open(path)) {
      return StopTokens.of(model);
    }
  }
}
