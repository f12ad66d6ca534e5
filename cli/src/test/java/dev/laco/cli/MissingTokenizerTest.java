package dev.laco.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.Fixtures;
import dev.laco.ProgramRun;
import java.nio.file.Path;
import java.util.Arrays;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** What commands say of a GGUF file without a tokenizer: no tokenizer.json is read beside it. */
class MissingTokenizerTest {
  private static final Path MODEL = Fixtures.RESOURCES.resolve("gguf/qwen2_bias.q8_0.gguf");

  @TempDir Path folder;

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      quoteCharacter = '"',
      textBlock =
          """
          generate MODEL --prompt x | 3 | MODEL: has no tokenizer in its metadata, which generate needs
          similarity MODEL | 3 | text needs a tokenizer and the model has no tokenizer in its metadata: give token ids
          eval MODEL | 3 | text needs a tokenizer and MODEL has no tokenizer in its metadata; give token ids
          eval MODEL --last-word | 3 | and the model has no tokenizer in its metadata: name a GGUF file that has one
          eval MODEL --tasks probes | 3 | and the model has no tokenizer in its metadata: name a GGUF file that has one
          compare MODEL --target-layers 2 --calibration TOKENS | 2 | : the model has no tokenizer in its metadata; give
          compare MODEL --target-layers 2 --strategies laco --calibration TOKENS --eval-tokens TOKENS | 0 | not fitted: the model has no tokenizer in its metadata; give
          prune MODEL --dry-run --search blocks --calibration TOKENS | 2 | and the model has no tokenizer in its metadata: give
          prune MODEL --dry-run --target-layers 2 --rule fit --calibration TOKENS | 3 | the model has no tokenizer in its metadata: give token ids
          prune MODEL --dry-run --target-layers 2 --calibration TOKENS | 0 | not done: the model has no tokenizer in its metadata; --fit-text
          prune MODEL --dry-run --target-layers 2 --calibration TOKENS | 0 | not measured: the model has no tokenizer in its metadata and no token-id lists
          """)
  void noCommandAsksForATokenizerJsonBesideAGgufFile(String command, int code, String says) {
    Path tokens = Fixtures.tokens(folder, "qwen2_bias", "calib");
    Object[] arguments =
        Arrays.stream(command.split(" "))
            .map(
                word ->
                    word.equals("MODEL") ? MODEL : word.equals("TOKENS") ? tokens : (Object) word)
            .toArray();
    ProgramRun run = Laco.run(arguments);
    String said = run.out() + run.err();
    assertTrue(said.contains(says.replace("MODEL", MODEL.toString())), said);
    assertFalse(said.contains("tokenizer.json"), said);
    assertEquals(code, run.code(), said);
  }
}
