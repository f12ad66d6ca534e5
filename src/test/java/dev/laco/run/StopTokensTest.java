package dev.laco.run;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.Fixtures;
import dev.laco.Model;
import dev.laco.checkpoint.Checkpoint;
import dev.laco.checkpoint.TestCheckpoints;
import dev.laco.checkpoint.export.GgufExport;
import dev.laco.checkpoint.gguf.GgufType;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
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
  @CsvSource({"<nothing>, false", "<|im_end|>, true", "<end_of_turn>, true", "<|end|>, true"})
  void aGgufFileHasEndsOfTurnsToo(String first, boolean ends) throws IOException {
    Path model = Files.createDirectory(folder.resolve("model"));
    for (String name :
        new String[] {
          "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"
        }) {
      Files.copy(Fixtures.STORYTELLER.resolve(name), model.resolve(name));
    }
    for (String name : new String[] {"tokenizer.json", "tokenizer_config.json"}) {
      TestCheckpoints.edit(model.resolve(name), text -> text.replace("<unk>", first));
    }
    Path file = folder.resolve("out.gguf");
    try (Checkpoint checkpoint = Checkpoint.open(model)) {
      new GgufExport(checkpoint, GgufType.BF16, warning -> {}).write(file, bytes -> {});
    }
    assertEquals(ends ? Set.of(0, 2) : Set.of(2), of(file));
    try (Checkpoint checkpoint = Checkpoint.open(file)) {
      // As in a config that was read from a file, where those who ask for an id look for an int.
      assertTrue(checkpoint.configJson().path("eos_token_id").isInt());
    }
  }

  private static Set<Integer> of(Path path) {
    try (Model model = Model.open(path)) {
      return StopTokens.of(model);
    }
  }
}
