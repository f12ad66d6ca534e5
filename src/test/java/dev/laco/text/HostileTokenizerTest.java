package dev.laco.text;

import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.BadInputException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Whatever a tokenizer.json holds, it works or is an error of one line; this process goes on. */
class HostileTokenizerTest {
  private static final TokenizerProcess.Limits TIGHT =
      new TokenizerProcess.Limits(Duration.ofMillis(250), Duration.ZERO, 250_000_000, 0, 0);

  private static final List<String> TEXTS =
      List.of(
          "a",
          "",
          "Hello  world, it's 123\n\n\u0000 ab",
          "Zażółć e\u0301\u0301 漢字 العربية 👩‍🚀 ﷺ \ud800 ▁a ##a <s><unk>",
          " ".repeat(2_000) + "a".repeat(2_000));

  private static final int[] ODD_IDS = {0, 2, 5, 7, 4095, Integer.MAX_VALUE, -1};

  @TempDir Path folder;

  private TokenizerProcess process = TokenizerProcess.start(TIGHT);
  private int started = 1;

  @AfterEach
  void end() {
    process.close();
  }

  @Test
  void degenerateTokenizersWorkOrAreErrorsOfOneLine() throws IOException {
    surviveAll(HostileTokenizers.degenerate(430, 13));
    // Or they are not worth their name.
    assertTrue(started > 20, () -> started + " processes");
  }

  @Test
  void mutatedTokenizersWorkOrAreErrorsOfOneLine() throws IOException {
    List<byte[]> originals = new ArrayList<>(HostileTokenizers.wellFormed());
    originals.add(Files.readAllBytes(Path.of("models/storyteller/tokenizer.json")));
    for (byte[] original : originals) {
      try (Tokenizer tokenizer =
          new Tokenizer(
              write(original), () -> TokenizerProcess.start(TokenizerProcess.Limits.USUAL))) {
        use(tokenizer);
      }
    }
    surviveAll(HostileTokenizers.mutated(originals, 570, 14));
  }

  /** Each file works or is an error of one line. */
  private void surviveAll(List<byte[]> files) throws IOException {
    int worked = 0;
    for (byte[] content : files) {
      Path file = write(content);
      try {
        use(new Tokenizer(file, this::process));
        worked++;
      } catch (BadInputException e) {
        String message = String.valueOf(e.getMessage());
        assertTrue(message.startsWith(file + ": "), message);
        assertFalse(message.contains("\n"), message);
        assertTrue(message.length() < file.toString().length() + 600, message);
      }
    }
    assertTrue(worked > files.size() / 12, worked + " of " + files.size());
  }

  private Path write(byte[] content) throws IOException {
    return Files.write(folder.resolve("tokenizer.json"), content);
  }

  private static void use(Tokenizer tokenizer) {
    tokenizer.prefix();
    for (String text : TEXTS) {
      tokenizer.decode(tokenizer.encode(text));
    }
    tokenizer.decode(ODD_IDS);
  }

  private TokenizerProcess process() {
    if (!process.isAlive()) {
      process = TokenizerProcess.start(TIGHT);
      started++;
    }
    return process;
  }
}
