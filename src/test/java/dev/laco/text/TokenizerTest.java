package dev.laco.text;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.laco.BadInputException;
import dev.laco.Fixtures;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.function.Consumer;
import java.util.stream.IntStream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

class TokenizerTest {
  private static final Path MODEL = Path.of("models/storyteller");
  private static final String MANY_SCRIPTS =
      "Zażółć gęślą jaźń — ∑ 漢字 かな 한국어 العربية हिन्दी 👩‍🚀🇫🇮 naïve\tcafé\n\n  end\u0000.";

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
  void idsEqualThoseOfAnIndependentImplementation() throws IOException {
    JsonNode expected =
        new ObjectMapper()
            .readTree(Path.of("src/test/resources/fixtures/storyteller/tokens.json").toFile());

    List<String> samples = Files.readAllLines(MODEL.resolve("calibration.txt"));
    for (int i = 0; i < samples.size(); i++) {
      assertArrayEquals(ids(expected.get("calib").get(i)), tokenizer.encode(samples.get(i)));
    }

    int[] text = tokenizer.encodeWithoutSpecial(Files.readString(MODEL.resolve("evaluation.txt")));
    List<TextChunks.Chunk> chunks = TextChunks.cut(text, tokenizer.prefix(), 255, 255);
    assertEquals(expected.get("eval").size(), chunks.size());
    for (int i = 0; i < chunks.size(); i++) {
      assertArrayEquals(ids(expected.get("eval").get(i)), chunks.get(i).ids());
    }
  }

  @Test
  void thePrefixIsWhatThePostProcessorPutsInFront() throws IOException {
    assertArrayEquals(new int[] {1}, tokenizer.prefix());
    try (Tokenizer without = changed(json -> json.putNull("post_processor"))) {
      assertArrayEquals(new int[0], without.prefix());
      assertArrayEquals(without.encodeWithoutSpecial("Hello"), without.encode("Hello"));
    }
  }

  @Test
  void aPrefixMayBeSeveralTokensAndWhatFollowsATextIsNoneOfThem() throws IOException {
    try (Tokenizer two = frame("<unk>", "<s>", "A")) {
      assertArrayEquals(new int[] {0, 1}, two.prefix());
      assertArrayEquals(two.encode("Hello"), two.encodeBehindPrefix("Hello"));
    }
    try (Tokenizer around = frame("<s>", "A", "</s>")) {
      assertArrayEquals(new int[] {1}, around.prefix());
    }
    try (Tokenizer behind = frame("A", "</s>")) {
      assertArrayEquals(new int[0], behind.prefix());
    }
  }

  @Test
  void truncationAndPaddingOfTheFileAreSwitchedOff() throws IOException {
    try (Tokenizer limited =
        changed(
            json -> {
              json.putObject("truncation")
                  .put("direction", "Right")
                  .put("max_length", 4)
                  .put("strategy", "LongestFirst")
                  .put("stride", 0);
              json.putObject("padding")
                  .put("direction", "Right")
                  .put("pad_id", 0)
                  .put("pad_type_id", 0)
                  .put("pad_token", "<unk>")
                  .putNull("pad_to_multiple_of")
                  .putObject("strategy")
                  .put("Fixed", 64);
            })) {
      String text = "one two three four five six seven";
      assertArrayEquals(tokenizer.encode(text), limited.encode(text));
    }
  }

  @Test
  void decodingGivesTheTextBackWithoutSpecialTokens() {
    assertEquals(MANY_SCRIPTS, tokenizer.decode(tokenizer.encode(MANY_SCRIPTS)));
    assertEquals("", tokenizer.decode(new int[] {1, 2}));
    assertEquals("", tokenizer.decode(new int[0]));
  }

  @Test
  void streamingNeverShowsHalfACharacter() {
    int[] ids = tokenizer.encode(MANY_SCRIPTS);
    StreamingDecoder decoder = tokenizer.streamingDecoder();
    StringBuilder printed = new StringBuilder();
    for (int id : ids) {
      printed.append(decoder.append(id));
      assertTrue(MANY_SCRIPTS.startsWith(printed.toString()), printed.toString());
    }
    assertEquals(MANY_SCRIPTS, printed.toString());
    assertEquals("", decoder.flush());
  }

  @Test
  void streamingShowsTextAsSoonAsItIsComplete() {
    StreamingDecoder decoder = tokenizer.streamingDecoder();
    for (int id : tokenizer.encodeWithoutSpecial("The old lighthouse keeper")) {
      assertFalse(decoder.append(id).isEmpty());
    }
  }

  @ParameterizedTest
  @MethodSource("seeds")
  void streamingAnyTokensGivesTheWholeText(int seed) {
    Random random = new Random(seed);
    // Half of the tokens are single bytes, so that broken characters are common.
    int[] ids =
        IntStream.generate(() -> random.nextInt(random.nextBoolean() ? 260 : 4096))
            .limit(1 + random.nextInt(40))
            .toArray();
    StreamingDecoder decoder = tokenizer.streamingDecoder();
    StringBuilder printed = new StringBuilder();
    for (int id : ids) {
      printed.append(decoder.append(id));
    }
    printed.append(decoder.flush());
    assertEquals(tokenizer.decode(ids), printed.toString(), Arrays.toString(ids));
  }

  static IntStream seeds() {
    return IntStream.range(0, 200);
  }

  /** Decoders of the SentencePiece kind drop the leading space of a text and spell bytes out. */
  @Test
  void streamingKeepsTheSpacesThatADecoderDropsAtTheStart() throws IOException {
    try (Tokenizer spaced = changed(TokenizerTest::likeSentencePiece)) {
      int[] ids = spaced.encodeWithoutSpecial("a b 漢 b a");
      assertEquals("a b 漢 b a", spaced.decode(ids));
      StreamingDecoder decoder = spaced.streamingDecoder();
      List<String> pieces = new ArrayList<>();
      pieces.add(decoder.append(1));
      for (int id : ids) {
        pieces.add(decoder.append(id));
      }
      assertEquals(List.of("", "a", " b", " ", "", "", "漢", " b", " a"), pieces);
    }
  }

  /** U+FFFD at the end of a text is no character that another token completes. */
  @Test
  void aFlushedStreamGoesOnBehindItsText() {
    StreamingDecoder decoder = tokenizer.streamingDecoder();
    for (int id : tokenizer.encodeWithoutSpecial("a\uFFFD")) {
      decoder.append(id);
    }
    assertEquals("\uFFFD", decoder.flush());
    StringBuilder behind = new StringBuilder();
    for (int id : tokenizer.encodeWithoutSpecial(" lighthouse")) {
      behind.append(decoder.append(id));
    }
    assertEquals(" lighthouse", behind + decoder.flush());
  }

  private static void likeSentencePiece(ObjectNode json) {
    ObjectMapper mapper = new ObjectMapper();
    try {
      json.set("normalizer", mapper.readTree("{\"type\":\"Prepend\",\"prepend\":\"▁\"}"));
      json.set(
          "pre_tokenizer",
          mapper.readTree(
              "{\"type\":\"Metaspace\",\"replacement\":\"▁\",\"prepend_scheme\":\"never\",\"split\":true}"));
      json.set(
          "decoder",
          mapper.readTree(
              """
              {"type":"Sequence","decoders":[
               {"type":"Replace","pattern":{"String":"▁"},"content":" "},
               {"type":"ByteFallback"},{"type":"Fuse"},
               {"type":"Strip","content":" ","start":1,"stop":0}]}
              """));
      ObjectNode model = (ObjectNode) json.get("model");
      model.put("byte_fallback", true);
      model.set(
          "vocab",
          mapper.readTree(
              """
              {"<unk>":0,"<s>":1,"</s>":2,"▁":3,"a":4,"b":5,"▁a":6,"▁b":7,
               "<0xE6>":8,"<0xBC>":9,"<0xA2>":10}
              """));
      model.set("merges", mapper.readTree("[\"▁ a\",\"▁ b\"]"));
    } catch (IOException e) {
      throw new AssertionError(e);
    }
  }

  @Test
  void aCheckpointWithoutTokenizerHasNone() {
    assertTrue(Tokenizer.load(folder).isEmpty());
  }

  @Test
  void aBrokenTokenizerIsBadInputThatNamesTheFile() throws IOException {
    Path file = folder.resolve("tokenizer.json");
    for (byte[] content :
        List.of(
            new byte[0],
            "{\"version\": \"1.0\"}".getBytes(java.nio.charset.StandardCharsets.UTF_8),
            new byte[] {'{', '"', (byte) 0xff, '"', '}'})) {
      Files.write(file, content);
      assertNamesTheFile(file);
    }
    Files.delete(file);
    Files.createSymbolicLink(file, folder.resolve("missing-blob"));
    assertNamesTheFile(file);
    Files.delete(file);
    Files.createDirectory(file);
    assertNamesTheFile(file);
  }

  @Test
  void aClosedTokenizerRefusesToWork() {
    Tokenizer closed = Tokenizer.load(MODEL).orElseThrow();
    closed.close();
    closed.close();
    assertThrows(IllegalStateException.class, () -> closed.encode("a"));
  }

  private void assertNamesTheFile(Path file) {
    BadInputException error = assertThrows(BadInputException.class, () -> Tokenizer.load(folder));
    assertTrue(error.getMessage().contains(file.toString()), error.getMessage());
    assertFalse(error.getMessage().contains("\n"), error.getMessage());
  }

  private Tokenizer changed(Consumer<ObjectNode> change) throws IOException {
    ObjectMapper mapper = new ObjectMapper();
    ObjectNode json = (ObjectNode) mapper.readTree(MODEL.resolve("tokenizer.json").toFile());
    change.accept(json);
    mapper.writeValue(folder.resolve("tokenizer.json").toFile(), json);
    return Tokenizer.load(folder).orElseThrow();
  }

  private Tokenizer frame(String... parts) {
    Fixtures.writeTokenizer(folder, parts);
    return Tokenizer.load(folder).orElseThrow();
  }

  private static int[] ids(JsonNode list) {
    return IntStream.range(0, list.size()).map(i -> list.get(i).intValue()).toArray();
  }
}
