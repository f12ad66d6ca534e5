package dev.laco.text;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.BadInputException;
import dev.laco.Fixtures;
import dev.laco.MissingTokenizer;
import dev.laco.text.TextChunks.Chunk;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.regex.Pattern;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class ClozeSetTest {
  private static final Path MODEL = Path.of("models/storyteller");
  private static final Pattern SENTENCE = Pattern.compile("(?<=[.?!])[\"”]?\\s+");

  private static Tokenizer tokenizer;

  @TempDir Path folder;

  @BeforeAll
  static void load() {
    tokenizer = Tokenizer.load(MODEL).orElseThrow();
  }

  @AfterAll
  static void close() {
    tokenizer.close();
  }

  @Test
  void theTokensOfTheLastWordAreScoredAfterBosAndPassage() throws IOException {
    Path file =
        write(
            "items.jsonl",
            """
            {"text": "The king sat on his", "last": " throne"}

            {"text": "She read the news", "last": "paper"}
            """);

    ClozeSet set = ClozeSet.read(file, target(Optional.of(tokenizer), 4096, 512));

    assertEquals("items.jsonl", set.name());
    assertEquals(2, set.items().size());
    Chunk first = set.items().get(0);
    assertArrayEquals(tokenizer.encode("The king sat on his throne"), first.ids());
    assertEquals(tokenizer.encode("The king sat on his").length, first.firstScored());
    // What the tokens of the two texts share is context, even where the word joins another.
    Chunk second = set.items().get(1);
    int[] passage = tokenizer.encode("She read the newspaper");
    assertArrayEquals(passage, second.ids());
    assertTrue(second.firstScored() < passage.length);
    assertArrayEquals(
        Arrays.copyOf(passage, second.firstScored()),
        Arrays.copyOf(tokenizer.encode("She read the news"), second.firstScored()));

    Fixtures.writeTokenizer(folder, "<unk>", "<s>", "A");
    try (Tokenizer two = Tokenizer.load(folder).orElseThrow()) {
      Chunk behindTwo = ClozeSet.read(file, target(Optional.of(two), 4096, 512)).items().getFirst();
      assertArrayEquals(two.encode("The king sat on his throne"), behindTwo.ids());
      assertEquals(two.encode("The king sat on his").length, behindTwo.firstScored());
    }
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      quoteCharacter = '`',
      value = {
        "`` | holds no items",
        "[\"a\"] | line 1 is not an object with a string \"text\"",
        "{\"text\": \"a\"} | line 1 is not an object with a string \"last\"",
        "{\"text\": \"a\", \"last\": \" \"} | line 1 has an empty \"last\"",
        "{\"text\": \"a\", \"last\": 3} | line 1",
        "{\"text\": \"a | line 1: is not valid JSON",
        "{\"text\": \"a b c d e f g h i j k\", \"last\": \" l\"} | max_position_embeddings is 8",
      })
  void everyOtherContentIsBadInputThatSaysWhere(String content, String says) throws IOException {
    Path file = write("items.jsonl", content == null ? "" : content);
    assertBadInput(file, target(Optional.of(tokenizer), 4096, 8), says);
  }

  @Test
  void wordsNeedTheModelsOwnTokenizer() throws IOException {
    Path file = write("items.jsonl", "{\"text\": \"The king sat on his\", \"last\": \" throne\"}");
    assertBadInput(file, target(Optional.empty(), 4096, 512), "no tokenizer.json");
    assertBadInput(file, target(Optional.of(tokenizer), 300, 512), "line 1 holds token id");
    assertBadInput(folder.resolve("no.jsonl"), target(Optional.empty(), 10, 5), "no such file");
  }

  @Test
  void theBuiltInItemsAreManyAndEndInPlainWords() {
    List<JsonLines.Line> lines = JsonLines.read("cloze.jsonl", BuiltInText.cloze());
    assertTrue(lines.size() >= 500);
    assertEquals(
        lines.size(), new HashSet<>(lines.stream().map(JsonLines.Line::object).toList()).size());
    for (JsonLines.Line line : lines) {
      assertTrue(line.string("last").matches(" \\p{Alpha}{4,}"), line.where());
      int words = line.string("text").split("\\s+").length;
      assertTrue(words >= 35 && words <= 150, line.where() + " has " + words + " words");
    }
    ClozeSet set = ClozeSet.builtIn(target(Optional.of(tokenizer), 4096, 512));
    assertEquals(lines.size(), set.items().size());
  }

  @Test
  void noSentenceOfTheBuiltInItemsIsInATextThatIsFittedOrCalibratedOn() throws IOException {
    String others =
        String.join(
            "\n",
            String.join(
                "\n", BuiltInText.fitDocuments().stream().map(FitText.Document::text).toList()),
            String.join("\n", BuiltInText.calibrationSentences()),
            BuiltInText.evaluation(),
            Files.readString(MODEL.resolve("calibration.txt")),
            Files.readString(MODEL.resolve("fit.txt")));
    Set<String> known = new HashSet<>(Arrays.asList(SENTENCE.split(others)));
    for (JsonLines.Line line : JsonLines.read("cloze.jsonl", BuiltInText.cloze())) {
      for (String sentence : SENTENCE.split(line.string("text"))) {
        assertFalse(sentence.length() > 30 && known.contains(sentence), sentence);
      }
    }
  }

  private static void assertBadInput(Path file, CalibrationSet.Target target, String says) {
    BadInputException error =
        assertThrows(BadInputException.class, () -> ClozeSet.read(file, target));
    assertTrue(error.getMessage().contains(file.toString()), error.getMessage());
    assertTrue(error.getMessage().contains(says), error.getMessage());
  }

  private static CalibrationSet.Target target(
      Optional<Tokenizer> tokenizer, int vocabulary, int positions) {
    return new CalibrationSet.Target(tokenizer, MissingTokenizer.OF_FOLDER, vocabulary, positions);
  }

  private Path write(String name, String content) throws IOException {
    return Files.writeString(folder.resolve(name), content);
  }
}
