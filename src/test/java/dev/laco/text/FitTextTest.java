package dev.laco.text;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.BadInputException;
import dev.laco.Fixtures;
import dev.laco.MissingTokenizer;
import java.io.IOException;
import java.nio.IntBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class FitTextTest {
  private static final int VOCABULARY = 4096;

  private static Tokenizer tokenizer;

  @TempDir Path folder;

  @BeforeAll
  static void load() {
    tokenizer = Tokenizer.load(Path.of("models/storyteller")).orElseThrow();
  }

  @AfterAll
  static void close() {
    tokenizer.close();
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "one\n---\ntwo\n\ntoo\n",
        "one\n\n-----  \r\n\n---\ntwo\n\ntoo",
        "one\ftwo\n\ntoo\f"
      })
  void aTextFileHasDocumentsBetweenLinesOfDashesOrFormFeeds(String content) throws IOException {
    FitText text = FitText.read(write("text.txt", content), withTokenizer(512));

    assertEquals("text.txt", text.name());
    assertDocuments(text, "one", "two\n\ntoo");
  }

  @Test
  void dashesWithinALineSeparateNothing() throws IOException {
    Path file = write("text.txt", "a --- b\n--\n--- c\n - - -");
    assertDocuments(FitText.read(file, withTokenizer(512)), "a --- b\n--\n--- c\n - - -");
  }

  @Test
  void aJsonLinesFileHasDocumentsUnderText() throws IOException {
    Path file = write("text.jsonl", "{\"text\": \"one\\n---\\ntwo\"}\n\n{\"text\": \"three\"}");
    assertDocuments(FitText.read(file, withTokenizer(512)), "one\n---\ntwo", "three");
  }

  @Test
  void tokenListsAreChunksOfTheirOwnAndNeedNoTokenizer() throws IOException {
    Path file = write("ids.json", "[[5, 0, 9], [3]]");
    FitText text =
        FitText.read(
            file, new CalibrationSet.Target(Optional.empty(), MissingTokenizer.OF_FOLDER, 10, 3));
    assertEquals(2, text.chunks().size());
    assertArrayEquals(new int[] {5, 0, 9}, text.chunks().get(0).ids());
    assertArrayEquals(new int[] {3}, text.chunks().get(1).ids());
    assertEquals(1, text.chunks().get(1).document());
  }

  @ParameterizedTest
  @ValueSource(ints = {512, 5, 2})
  void everyChunkBeginsWithAllTokensThatStandBeforeAText(int positions) throws IOException {
    Fixtures.writeTokenizer(folder, "<unk>", "<s>", "A");
    Path file = write("text.txt", "Once upon a time there was a lighthouse.");
    try (Tokenizer two = Tokenizer.load(folder).orElseThrow()) {
      FitText text =
          FitText.read(
              file,
              new CalibrationSet.Target(
                  Optional.of(two), MissingTokenizer.OF_FOLDER, 4096, positions));
      assertFalse(text.chunks().isEmpty());
      for (FitText.Chunk chunk : text.chunks()) {
        assertArrayEquals(new int[] {0, 1}, Arrays.copyOf(chunk.ids(), 2));
        assertTrue(chunk.length() > 2 && chunk.length() <= Math.max(3, positions));
      }
    }
  }

  @ParameterizedTest
  @ValueSource(ints = {512, 40, 2})
  void chunksOfADocumentHoldItsTokensInOrderAfterBos(int positions) {
    FitText text = FitText.builtIn(withTokenizer(positions));

    int bos = tokenizer.prefix()[0];
    int room = Math.min(positions, FitText.CHUNK_TOKENS) - 1;
    List<Map<IntBuffer, Integer>> left = new ArrayList<>();
    for (FitText.Document document : BuiltInText.fitDocuments()) {
      int[] ids = tokenizer.encodeWithoutSpecial(document.text());
      Map<IntBuffer, Integer> chunks = new HashMap<>();
      for (int from = 0; from < ids.length; from += room) {
        int to = Math.min(from + room, ids.length);
        chunks.merge(IntBuffer.wrap(ids, from, to - from), 1, Integer::sum);
      }
      left.add(chunks);
    }
    for (FitText.Chunk chunk : text.chunks()) {
      int[] ids = chunk.ids();
      assertEquals(bos, ids[0]);
      IntBuffer tokens = IntBuffer.wrap(ids, 1, ids.length - 1);
      Map<IntBuffer, Integer> chunks = left.get(chunk.document());
      assertTrue(chunks.containsKey(tokens), "no chunk of document " + chunk.document());
      chunks.computeIfPresent(tokens, (_, count) -> count == 1 ? null : count - 1);
    }
    left.forEach(chunks -> assertEquals(Map.of(), chunks, "chunks are missing"));
  }

  @Test
  void everyBeginningIsSpreadOverAllDocuments() throws IOException {
    String content =
        IntStream.range(0, 64)
            .mapToObj(d -> "The old woman lived by the river. ".repeat(60))
            .collect(Collectors.joining("\n---\n"));
    FitText text = FitText.read(write("text.txt", content), withTokenizer(512));
    assertTrue(text.chunks().size() >= 2 * 64, "two chunks a document or more");
    Map<Integer, Long> eighths =
        text.chunks().subList(0, 24).stream()
            .collect(Collectors.groupingBy(w -> w.document() / 8, Collectors.counting()));
    assertEquals(8, eighths.size(), eighths::toString);
    eighths.values().forEach(n -> assertTrue(n >= 2 && n <= 4, eighths::toString));
  }

  @Test
  void aLimitTakesSoManyTokensFromTheFront() {
    FitText all = FitText.builtIn(withTokenizer(512));
    for (int tokens : new int[] {1, 256, 1000, 4096}) {
      FitText some = all.limit(tokens);
      assertEquals(tokens, some.tokens());
      for (int w = 0; w < some.chunks().size(); w++) {
        int[] ids = some.chunks().get(w).ids();
        assertArrayEquals(ids, Arrays.copyOf(all.chunks().get(w).ids(), ids.length));
        assertEquals(all.chunks().get(w).document(), some.chunks().get(w).document());
      }
    }
    assertEquals(all.tokens(), all.limit(Integer.MAX_VALUE).tokens());
  }

  @Test
  void theBuiltInTextIsTensOfThousandsOfTokensWithoutRepetition() {
    List<String> documents =
        BuiltInText.fitDocuments().stream().map(FitText.Document::text).toList();
    assertTrue(FitText.builtIn(withTokenizer(512)).tokens() > 65_000);
    assertEquals(documents.size(), new TreeSet<>(documents).size());
    String all = String.join("\n", documents);
    assertTrue(all.indexOf('\uFFFD') < 0, "half a character");
    for (String other : List.of(BuiltInText.evaluation(), calibration())) {
      other
          .lines()
          .filter(line -> line.length() > 30)
          .forEach(line -> assertTrue(!all.contains(line), line));
    }
  }

  private static String calibration() {
    return String.join("\n", BuiltInText.calibrationSentences());
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      quoteCharacter = '`',
      value = {
        "ids.json | [[1], [2, -3]] | list 1 holds token id -3",
        "ids.json | [[1, 2, 3]] | list 0 has 3 tokens, the model's max_position_embeddings is 2",
        "a.txt | `  ` | holds no text",
        "a.txt | `---` | holds no text",
        "a.jsonl | `` | holds no text",
        "a.jsonl | {\"text\": 3} | line 1",
        "a.jsonl | {\"messages\": []} | line 1: a chat needs a chat template; lines with",
        "a.csv | 1,2 | expected .txt",
      })
  void everyOtherContentIsBadInputThatSaysWhere(String name, String content, String says)
      throws IOException {
    assertBadInput(write(name, content == null ? "" : content), withTokenizer(2), says);
  }

  @Test
  void textNeedsTheModelsOwnTokenizer() throws IOException {
    Path file = write("a.txt", "The old lighthouse keeper");
    assertBadInput(
        file,
        new CalibrationSet.Target(Optional.empty(), MissingTokenizer.OF_FOLDER, 10, 512),
        "give token ids, fitText FILE.json");
    assertBadInput(
        file,
        new CalibrationSet.Target(Optional.of(tokenizer), MissingTokenizer.OF_FOLDER, 300, 512),
        "document 0 holds token id");
  }

  private static void assertBadInput(Path file, CalibrationSet.Target target, String says) {
    BadInputException error =
        assertThrows(BadInputException.class, () -> FitText.read(file, target));
    assertTrue(error.getMessage().contains(file.toString()), error.getMessage());
    assertTrue(error.getMessage().contains(says), error.getMessage());
  }

  private static void assertDocuments(FitText text, String... documents) {
    assertEquals(documents.length, text.chunks().size());
    for (FitText.Chunk chunk : text.chunks()) {
      assertArrayEquals(tokenizer.encode(documents[chunk.document()]), chunk.ids());
    }
  }

  private static CalibrationSet.Target withTokenizer(int positions) {
    return new CalibrationSet.Target(
        Optional.of(tokenizer), MissingTokenizer.OF_FOLDER, VOCABULARY, positions);
  }

  private Path write(String name, String content) throws IOException {
    return Files.writeString(folder.resolve(name), content);
  }

  @Test
  void filesFollowEachOtherAsDocumentsOfTheirDomains() throws IOException {
    CalibrationSet.Target target =
        new CalibrationSet.Target(Optional.empty(), MissingTokenizer.OF_FOLDER, 10, 3);
    Path one = write("one.json", "[[1,2,3],[4,5]]");
    Path other = write("other.json", "[[6],[7,8]]");
    FitText text = FitText.read(List.of(one, other), target);
    assertEquals("one.json, other.json", text.name());
    Map<Integer, String> documents = new TreeMap<>();
    text.chunks().forEach(chunk -> documents.put(chunk.document(), chunk.domain()));
    assertEquals(Map.of(0, "one.json", 1, "one.json", 2, "other.json", 3, "other.json"), documents);
    FitText more = text.with("more", List.of(new FitText.Chunk(new int[] {9}, 4, "more")));
    assertEquals(text.tokens() + 1, more.tokens());
    assertEquals("one.json, other.json, more", more.name());
    Path blank = write("blank.txt", " \n");
    assertThrows(BadInputException.class, () -> FitText.read(List.of(one, blank), target));
  }
}
