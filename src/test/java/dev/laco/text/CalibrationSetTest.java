package dev.laco.text;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.BadInputException;
import dev.laco.MissingTokenizer;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class CalibrationSetTest {
  private static final Path MODEL = Path.of("models/storyteller");

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
  void aTextFileHasASampleALineAndBlankLinesAreSkipped() throws IOException {
    Path file = write("samples.txt", "\uFEFFone two\r\n\n   \nthree");

    CalibrationSet set = CalibrationSet.read(file, withTokenizer(4096, 512));

    assertEquals("samples.txt", set.name());
    assertSequences(set, tokenizer.encode("one two"), tokenizer.encode("three"));
    assertTrue(set.warnings().isEmpty());
  }

  @Test
  void aJsonLinesFileHasSamplesUnderText() throws IOException {
    Path file =
        write("samples.JSONL", "{\"id\": 1, \"text\": \"a\\nb\"}\n\n{\"text\": \"\u6f22\"}\n");

    CalibrationSet set = CalibrationSet.read(file, withTokenizer(4096, 512));

    assertSequences(set, tokenizer.encode("a\nb"), tokenizer.encode("\u6f22"));
  }

  @Test
  void tokenListsAreTakenAsTheyAreAndNeedNoTokenizer() throws IOException {
    Path file = write("ids.json", "[[5, 0, 9],\n [3]]");

    CalibrationSet set = CalibrationSet.read(file, withoutTokenizer(10, 512));

    assertSequences(set, new int[] {5, 0, 9}, new int[] {3});
  }

  @Test
  void aSequenceLongerThanTheModelsPositionsIsAWarning() throws IOException {
    Path file = write("ids.json", "[[1, 2], [1, 2, 3]]");

    CalibrationSet set = CalibrationSet.read(file, withoutTokenizer(10, 2));

    assertEquals(
        List.of(file + ": list 1 has 3 tokens, more than the model's max_position_embeddings 2"),
        set.warnings());
    assertSequences(set, new int[] {1, 2}, new int[] {1, 2, 3});
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      quoteCharacter = '`',
      value = {
        "ids.json | [] | holds no token lists",
        "ids.json | `` | an empty file",
        "ids.json | [[1], []] | list 1 is empty",
        "ids.json | [[1], [2, -3]] | list 1 holds token id -3",
        "ids.json | [[1], [2, 10]] | list 1 holds token id 10, outside the model's vocabulary of 10",
        "ids.json | [[99999999999999999999]] | list 0 holds token id 99999999999999999999",
        "ids.json | [[1, 2.0]] | list 0 holds 2.0",
        "ids.json | [[1, \"a\"]] | list 0 holds a",
        "ids.json | [[[1]]] | list 0 holds a list",
        "ids.json | [[1], 7] | found 7 as element 1",
        "ids.json | {\"calib\": [[1]], \"n\": {\"x\": [2]}, \"eval\": []} | under: calib, eval",
        "ids.json | {} | found an object",
        "ids.json | 7 | found 7",
        "ids.json | [[1]] [[2]] | something follows",
        "ids.json | [[1], | line 1",
        "ids.json | [[1] [2]] | line 1",
        "a.txt | `  ` | holds no samples",
        "a.jsonl | `` | holds no samples",
        "a.jsonl | [\"a\"] | line 1",
        "a.jsonl | {\"text\": 3} | line 1",
        "a.jsonl | {\"text\": \" \"} | line 1",
        "a.jsonl | {\"text\": \"a\"} {} | line 1: is not valid JSON",
        "a.jsonl | {\"text\": \"a | line 1: is not valid JSON",
        "a.csv | 1,2 | expected .txt",
      })
  void everyOtherContentIsBadInputThatSaysWhere(String name, String content, String says)
      throws IOException {
    Path file = write(name, content == null ? "" : content);
    assertBadInput(file, withTokenizer(10, 512), says);
  }

  @Test
  void aFileThatIsMissingOrNotUtf8IsBadInput() throws IOException {
    assertBadInput(folder.resolve("no.txt"), withTokenizer(4096, 512), "no such file");
    Path latin1 = folder.resolve("latin1.txt");
    Files.write(latin1, "caf\u00e9".getBytes(StandardCharsets.ISO_8859_1));
    assertBadInput(latin1, withTokenizer(4096, 512), "UTF-8");
    assertBadInput(Files.createDirectory(folder.resolve("d.txt")), withTokenizer(4096, 512), "");
  }

  @Test
  void textWithoutATokenizerAsksForTokenIds() throws IOException {
    assertBadInput(write("a.txt", "a"), withoutTokenizer(10, 512), "give token ids");
    BadInputException error =
        assertThrows(
            BadInputException.class, () -> CalibrationSet.builtIn(withoutTokenizer(10, 512)));
    assertTrue(error.getMessage().contains("give token ids"), error.getMessage());
  }

  @Test
  void aTokenizerOfAnotherModelIsBadInput() throws IOException {
    Path file = write("a.txt", "The old lighthouse keeper");
    assertBadInput(file, withTokenizer(300, 512), "sample 0 holds token id");
  }

  @Test
  void theBuiltInSetHasFiveEnglishAndFiveChineseSentences() {
    List<String> sentences = BuiltInText.calibrationSentences();
    assertEquals(10, CalibrationSet.builtIn(withTokenizer(4096, 512)).sequences().size());
    assertEquals(5, sentences.stream().filter(CalibrationSetTest::isChinese).count());
    assertEquals(10, sentences.stream().distinct().count());
  }

  @Test
  void theBuiltInEvaluationTextHasAbout1500Words() {
    int words = BuiltInText.evaluation().split("\\s+").length;
    assertTrue(words > 1400 && words < 1700, () -> words + " words");
  }

  private static boolean isChinese(String sentence) {
    return sentence
        .codePoints()
        .anyMatch(c -> Character.UnicodeScript.of(c) == Character.UnicodeScript.HAN);
  }

  private Path write(String name, String content) throws IOException {
    return Files.writeString(folder.resolve(name), content);
  }

  private static CalibrationSet.Target withTokenizer(int vocabularySize, int maxPositions) {
    return new CalibrationSet.Target(
        Optional.of(tokenizer), MissingTokenizer.OF_FOLDER, vocabularySize, maxPositions);
  }

  private static CalibrationSet.Target withoutTokenizer(int vocabularySize, int maxPositions) {
    return new CalibrationSet.Target(
        Optional.empty(), MissingTokenizer.OF_FOLDER, vocabularySize, maxPositions);
  }

  private static void assertSequences(CalibrationSet set, int[]... expected) {
    assertArrayEquals(expected, set.sequences().toArray(int[][]::new));
  }

  private static void assertBadInput(Path file, CalibrationSet.Target target, String says) {
    BadInputException error =
        assertThrows(BadInputException.class, () -> CalibrationSet.read(file, target));
    assertTrue(error.getMessage().startsWith(file + ":"), error.getMessage());
    assertTrue(error.getMessage().contains(says), error.getMessage());
    assertFalse(error.getMessage().contains("\n"), error.getMessage());
  }
}
