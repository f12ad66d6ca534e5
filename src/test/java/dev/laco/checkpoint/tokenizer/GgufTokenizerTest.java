package dev.laco.checkpoint.tokenizer;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.json.JsonMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.laco.BadInputException;
import dev.laco.Fixtures;
import dev.laco.MutatedFiles;
import dev.laco.checkpoint.gguf.GgufHeader;
import dev.laco.checkpoint.gguf.GgufMetadata;
import dev.laco.text.Tokenizer;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class GgufTokenizerTest {
  private static final Path FOLDER = Fixtures.RESOURCES.resolve("gguf");
  private static final JsonMapper JSON = new JsonMapper();

  private static GgufMetadata metadata(byte[] bytes) {
    return GgufHeader.read(Path.of("a.gguf"), MemorySegment.ofArray(bytes), 10).metadata();
  }

  private static GgufMetadata metadata(String name) throws IOException {
    return metadata(Files.readAllBytes(FOLDER.resolve(name)));
  }

  private static GgufTokenizer tokenizer(GgufMetadata metadata) {
    return new GgufTokenizer(Path.of("a.gguf"), metadata);
  }

  @Test
  void byteLevelBpeIsTheTokenizerThatTheConverterRead() throws IOException {
    GgufTokenizer made = tokenizer(metadata("storyteller.vocab.gguf"));
    JsonNode found = JSON.readTree(made.json());
    JsonNode expected = Fixtures.read(Fixtures.STORYTELLER.resolve("tokenizer.json"));
    for (String key : List.of("added_tokens", "normalizer", "pre_tokenizer", "post_processor")) {
      assertEquals(expected.get(key), found.get(key), key);
    }
    assertEquals(expected.get("model").get("vocab"), found.get("model").get("vocab"));
    assertEquals(merges(expected), merges(found));
    JsonNode config = JSON.readTree(made.config());
    assertEquals("<s>", config.get("bos_token").textValue());
    assertEquals("</s>", config.get("eos_token").textValue());
    try (Tokenizer original = Tokenizer.load(Fixtures.STORYTELLER).orElseThrow();
        Tokenizer tokenizer = Tokenizer.of("a.gguf", made::json)) {
      String text = Files.readString(Path.of("interop/scripts.txt"));
      int[] ids = tokenizer.encode(text);
      assertArrayEquals(original.encode(text), ids);
      assertEquals(original.decode(ids), tokenizer.decode(ids));
    }
  }

  /** Whatever is done to a good file, its tokenizer is read or refused; nothing else, and soon. */
  @Test
  void mutatedFilesAreReadOrRefused(@TempDir Path folder) throws IOException {
    Path file = Files.copy(FOLDER.resolve("pieces.gguf"), folder.resolve("a.gguf"));
    int refused =
        MutatedFiles.refused(
            MutatedFiles.COUNT,
            file,
            (int) Files.size(file),
            "\0\1\2\u0009\u0010\u00ff",
            () -> {
              MemorySegment bytes = MemorySegment.ofArray(Files.readAllBytes(file));
              new GgufTokenizer(file, GgufHeader.read(file, bytes, 10).metadata()).json();
              return 0;
            });
    assertTrue(refused > 100, refused + " refused");
  }

  private static List<String> merges(JsonNode tokenizer) {
    return tokenizer
        .get("model")
        .get("merges")
        .valueStream()
        .map(
            merge ->
                merge.isArray()
                    ? merge.get(0).asText() + " " + merge.get(1).asText()
                    : merge.asText())
        .toList();
  }

  @Test
  void piecesAreThoseOfSentencePiece() throws IOException {
    GgufMetadata metadata = metadata("pieces.gguf");
    try (Tokenizer tokenizer = Tokenizer.of("a.gguf", tokenizer(metadata)::json)) {
      List<String> texts = metadata.strings("expected.texts");
      for (int i = 0; i < texts.size(); i++) {
        int[] expected =
            metadata.integers("expected.ids." + i).stream().mapToInt(Integer::intValue).toArray();
        assertArrayEquals(expected, tokenizer.encode(texts.get(i)), texts.get(i));
      }
    }
  }

  /** The ids are those of llama.cpp. */
  @Test
  void tokensAreFoundInATextAsLlamaCppFindsThem() throws IOException {
    try (Tokenizer tokenizer = Tokenizer.of("a.gguf", tokenizer(metadata("pieces.gguf"))::json)) {
      assertArrayEquals(new int[] {1, 261, 0, 271}, tokenizer.encode("a<unk>b"));
      assertArrayEquals(
          new int[] {1, 2, 545, 545, 13, 261, 1, 545, 271}, tokenizer.encode("</s> \n a<s> b"));
    }
  }

  /** The ids are those of llama.cpp for a file of this name. */
  @Test
  void tokensOfPhi3TakeTheBlanksBehindThem() throws IOException {
    GgufMetadata metadata = metadata(named("Phi-3 mini", "pieces.gguf"));
    try (Tokenizer tokenizer = Tokenizer.of("a.gguf", tokenizer(metadata)::json)) {
      assertArrayEquals(new int[] {1, 2, 261, 1, 545, 271}, tokenizer.encode("</s> \n a<s> b"));
    }
  }

  /** A file with {@code general.name} as its first metadata. */
  private static byte[] named(String name, String file) throws IOException {
    byte[] key = "general.name".getBytes(StandardCharsets.US_ASCII);
    byte[] value = name.getBytes(StandardCharsets.US_ASCII);
    ByteBuffer old =
        ByteBuffer.wrap(Files.readAllBytes(FOLDER.resolve(file))).order(ByteOrder.LITTLE_ENDIAN);
    ByteBuffer made =
        ByteBuffer.allocate(old.capacity() + key.length + value.length + 20)
            .order(ByteOrder.LITTLE_ENDIAN);
    made.put(old.slice(0, 16)).putLong(old.getLong(16) + 1);
    made.putLong(key.length).put(key).putInt(8).putLong(value.length).put(value);
    return made.put(old.slice(24, old.capacity() - 24)).array();
  }

  /** Files of several models have names of their own for the same way. */
  @ParameterizedTest
  @CsvSource({
    "lfm2, llama-bpe",
    "glm4, dbrx",
    "minimax-m2, gpt-4o",
    "hunyuan-dense, deepseek-v3",
    "refact, smollm",
    "exaone4, gpt-2"
  })
  void aNameStandsForAWay(String name, String usual) throws IOException {
    String json = tokenizer(metadata(cutAs(name))).json();
    JsonNode made = JSON.readTree(json);
    assertEquals(JSON.readTree(tokenizer(metadata(cutAs(usual))).json()), made);
    boolean whole = made.path("model").path("ignore_merges").booleanValue();
    assertEquals(usual, GgufTokenizer.wordsOf(made.get("pre_tokenizer"), whole));
  }

  @Test
  void aTokenizerWithAPatternOfItsOwnHasNoName() throws IOException {
    JsonNode json = JSON.readTree(tokenizer(metadata(cutAs("qwen2"))).json());
    ((ObjectNode) json.at("/pre_tokenizer/pretokenizers/0/pattern")).put("Regex", "\\p{L}+");
    assertNull(GgufTokenizer.wordsOf(json.get("pre_tokenizer"), false));
  }

  /** A file of the demo model's vocabulary with another name in the place of "gpt-2". */
  private static byte[] cutAs(String name) throws IOException {
    byte[] old = Files.readAllBytes(FOLDER.resolve("storyteller.vocab.gguf"));
    String text = new String(old, StandardCharsets.ISO_8859_1);
    String key = "tokenizer.ggml.pre";
    // Behind the key stand the type of a text and its length.
    int length = text.indexOf(key) + key.length() + 4;
    int end = length + 8 + 5;
    assertEquals("gpt-2", text.substring(length + 8, end));
    return ByteBuffer.allocate(old.length - 5 + name.length())
        .order(ByteOrder.LITTLE_ENDIAN)
        .put(old, 0, length)
        .putLong(name.length())
        .put(name.getBytes(StandardCharsets.US_ASCII))
        .put(old, end, old.length - end)
        .array();
  }

  @Test
  void anUnknownWayToCutWordsIsRefusedAtItsFirstUse() throws IOException {
    String bytes =
        Files.readString(FOLDER.resolve("storyteller.vocab.gguf"), StandardCharsets.ISO_8859_1);
    byte[] other = bytes.replace("gpt-2", "gpt-9").getBytes(StandardCharsets.ISO_8859_1);
    try (Tokenizer tokenizer = Tokenizer.of("a.gguf", tokenizer(metadata(other))::json)) {
      BadInputException refused =
          assertThrows(BadInputException.class, () -> tokenizer.encode("a"));
      assertTrue(refused.getMessage().contains("gpt-9"), refused::getMessage);
    }
  }
}
