package dev.laco.checkpoint.tokenizer;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTimeoutPreemptively;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import dev.laco.BadInputException;
import dev.laco.Fixtures;
import dev.laco.MutatedFiles;
import dev.laco.TestFiles;
import dev.laco.checkpoint.gguf.GgufHeader;
import dev.laco.checkpoint.gguf.GgufMetadata;
import dev.laco.text.Tokenizer;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Tokenizers of folders without tokenizer.json. */
class FolderTokenizerTest {
  private static final Path GGUF = Fixtures.RESOURCES.resolve("gguf");

  @TempDir Path folder;

  private Tokenizer tokenizer() {
    return Tokenizer.of("made", FolderTokenizer.of(folder).get("tokenizer.json"));
  }

  @Test
  void piecesAreThoseOfSentencePiece() throws IOException {
    Files.copy(GGUF.resolve("pieces.model"), folder.resolve("tokenizer.model"));
    GgufMetadata expected =
        GgufHeader.read(
                Path.of("a.gguf"),
                MemorySegment.ofArray(Files.readAllBytes(GGUF.resolve("pieces.gguf"))),
                10)
            .metadata();
    try (Tokenizer tokenizer = tokenizer()) {
      List<String> texts = expected.strings("expected.texts");
      assertTrue(texts.size() > 2);
      for (int i = 0; i < texts.size(); i++) {
        assertArrayEquals(
            expected.integers("expected.ids." + i).stream().mapToInt(Integer::intValue).toArray(),
            tokenizer.encode(texts.get(i)),
            texts.get(i));
      }
    }
  }

  @Test
  void tokensThatAConfigAddsAreFoundFirst() throws IOException {
    Files.copy(GGUF.resolve("pieces.model"), folder.resolve("tokenizer.model"));
    TestFiles.write(
        folder.resolve("tokenizer_config.json"),
        """
        {"add_bos_token": false, "add_eos_token": true, "eos_token": {"content": "<|end|>"},
         "added_tokens_decoder": {"601": {"content": "<|user|>", "special": true}}}
        """);
    TestFiles.write(folder.resolve("added_tokens.json"), "{\"<|end|>\": 600}");
    try (Tokenizer tokenizer = tokenizer()) {
      int[] ids = tokenizer.encode("a<|user|>");
      assertArrayEquals(new int[] {601, 600}, Arrays.copyOfRange(ids, ids.length - 2, ids.length));
    }
  }

  /** The ids are those of transformers 5.24. */
  @Test
  void aConfigSaysWhetherABlankIsPutBeforeEveryText() throws IOException {
    Files.copy(GGUF.resolve("pieces.model"), folder.resolve("tokenizer.model"));
    TestFiles.write(folder.resolve("tokenizer_config.json"), "{\"add_prefix_space\": false}");
    try (Tokenizer tokenizer = tokenizer()) {
      assertArrayEquals(new int[] {1, 198, 172}, tokenizer.encode("\u00e9"));
    }
  }

  /** The demo model's tokenizer in the older files. */
  private void writeVocabulary(String className) throws IOException {
    JsonNode model = Fixtures.read(Fixtures.STORYTELLER.resolve("tokenizer.json")).get("model");
    TestFiles.write(folder.resolve("vocab.json"), model.get("vocab").toString());
    StringBuilder merges = new StringBuilder("#version: 0.2\n");
    for (JsonNode merge : model.get("merges")) {
      merges
          .append(
              merge.isArray()
                  ? merge.get(0).asText() + " " + merge.get(1).asText()
                  : merge.asText())
          .append('\n');
    }
    TestFiles.write(folder.resolve("merges.txt"), merges.toString());
    TestFiles.write(
        folder.resolve("tokenizer_config.json"),
        "{\"tokenizer_class\": \""
            + className
            + "\", \"bos_token\": \"<s>\", \"add_bos_token\": true}");
  }

  @Test
  void aVocabularyAndItsMergesAreTheTokenizerThatTheyWereTakenFrom() throws IOException {
    writeVocabulary("GPT2TokenizerFast");
    String text = Files.readString(Path.of("models/storyteller/evaluation.txt"));
    try (Tokenizer original = Tokenizer.load(Fixtures.STORYTELLER).orElseThrow();
        Tokenizer tokenizer = tokenizer()) {
      assertArrayEquals(original.encodeWithoutSpecial(text), tokenizer.encodeWithoutSpecial(text));
      assertArrayEquals(original.prefix(), tokenizer.prefix());
    }
  }

  /** The ids are those of transformers 5.24. */
  @Test
  void addedTokensTakeBlanksAndWordsAsTheConfigSays() throws IOException {
    writeVocabulary("Qwen2TokenizerFast");
    TestFiles.write(
        folder.resolve("tokenizer_config.json"),
        """
        {"tokenizer_class": "Qwen2TokenizerFast", "bos_token": "<s>", "add_bos_token": true,
         "additional_special_tokens": ["</s>"], "unk_token": {"content": "<unk>", "rstrip": true},
         "added_tokens_decoder": {
           "4096": {"content": "<|r|>", "rstrip": true, "special": true},
           "4097": {"content": "<|l|>", "lstrip": true, "special": true},
           "4098": {"content": "word", "single_word": true, "special": true},
           "4099": {"content": "<|e\u0301|>", "normalized": true, "special": false}}}
        """);
    try (Tokenizer tokenizer = tokenizer()) {
      assertArrayEquals(new int[] {1, 67, 4096, 68}, tokenizer.encode("a<|r|> \n b"));
      assertArrayEquals(new int[] {1, 67, 4097, 271}, tokenizer.encode("a <|l|> b"));
      assertArrayEquals(new int[] {1, 67, 223, 4098, 14, 1273}, tokenizer.encode("a word, words"));
      assertArrayEquals(new int[] {1, 4099}, tokenizer.encode("<|\u00e9|>"));
      assertArrayEquals(new int[] {1, 67, 2, 0, 68}, tokenizer.encode("a</s><unk> b"));
    }
  }

  /** Where no token is added, transformers finds those that the config names. */
  @Test
  void tokensThatAConfigNamesAreFoundFirst() throws IOException {
    writeVocabulary("GPT2Tokenizer");
    try (Tokenizer original = Tokenizer.load(Fixtures.STORYTELLER).orElseThrow();
        Tokenizer tokenizer = tokenizer()) {
      assertArrayEquals(original.encode("a<s>b"), tokenizer.encode("a<s>b"));
      assertEquals("ab", tokenizer.decode(tokenizer.encode("a<s>b")));
    }
  }

  /** EOS of both classes, which a config need not name. */
  @Test
  void theEndOfATextIsFoundFirst() throws IOException {
    writeVocabulary("GPT2Tokenizer");
    Path vocabulary = folder.resolve("vocab.json");
    TestFiles.write(
        vocabulary, Files.readString(vocabulary).replace("\"</s>\"", "\"<|endoftext|>\""));
    try (Tokenizer tokenizer = tokenizer()) {
      assertArrayEquals(new int[] {1, 67, 2, 68}, tokenizer.encode("a<|endoftext|>b"));
    }
  }

  @Test
  void theTokenOfWhatIsUnknownIsFoundFirst() throws IOException {
    Files.copy(GGUF.resolve("pieces.model"), folder.resolve("tokenizer.model"));
    try (Tokenizer tokenizer = tokenizer()) {
      assertArrayEquals(new int[] {1, 261, 0, 271}, tokenizer.encode("a<unk>b"));
    }
  }

  @Test
  void anotherWayToCutWordsIsRefusedByName() throws IOException {
    writeVocabulary("CodeGenTokenizer");
    assertBad("tokenizer_class: expected GPT2Tokenizer or Qwen2Tokenizer, found CodeGenTokenizer");
  }

  @Test
  void aVocabularyWithAGapIsRefused() throws IOException {
    writeVocabulary("Qwen2Tokenizer");
    TestFiles.write(folder.resolve("vocab.json"), "{\"a\": 0, \"b\": 2}");
    assertBad("vocab.json: token 'b' has the id 2; expected one of 0 to 1");
    TestFiles.write(folder.resolve("vocab.json"), "{\"a\": 0, \"b\": 0}");
    assertBad("vocab.json: token 'b' has no id, or one that another token has");
    TestFiles.write(folder.resolve("vocab.json"), "{\"a\": 0");
    assertBad("vocab.json: is not valid JSON");
  }

  @Test
  void aVocabularyOfTooManyTokensIsRefused() throws IOException {
    writeVocabulary("Qwen2Tokenizer");
    StringBuilder tokens = new StringBuilder("{\"0\": 0");
    for (int id = 1; id <= 1_000_000; id++) {
      tokens.append(", \"").append(id).append("\": ").append(id);
    }
    TestFiles.write(folder.resolve("vocab.json"), tokens.append('}').toString());
    assertBad("vocab.json: has more than 1,000,000 tokens");
  }

  /** To look through all tokens for each of them would take minutes. */
  @Test
  void manyTokensThatAConfigNamesAreFoundSoon() throws IOException {
    writeVocabulary("Qwen2Tokenizer");
    String vocabulary =
        IntStream.range(0, 300_000)
            .mapToObj(id -> "\"" + id + "\": " + id)
            .collect(Collectors.joining(", ", "{", "}"));
    TestFiles.write(folder.resolve("vocab.json"), vocabulary);
    String named =
        IntStream.range(0, 150_000)
            .mapToObj(id -> "\"<" + Integer.toString(id, Character.MAX_RADIX) + ">\"")
            .collect(Collectors.joining(",", "[", "]"));
    TestFiles.write(
        folder.resolve("tokenizer_config.json"),
        "{\"tokenizer_class\": \"Qwen2Tokenizer\", \"additional_special_tokens\": " + named + "}");
    String made =
        assertTimeoutPreemptively(
            Duration.ofSeconds(30), () -> FolderTokenizer.of(folder).get("tokenizer.json").get());
    assertTrue(made.contains("\"299999\""));
  }

  /** Half a million pairs of pieces that make another, of 500 characters in the mean. */
  @Test
  void piecesWithTooManyMergesAreRefused() throws IOException {
    ByteArrayOutputStream pieces = new ByteArrayOutputStream();
    pieces.writeBytes(Files.readAllBytes(GGUF.resolve("pieces.model")));
    for (int length = 1; length <= 1000; length++) {
      byte[] text = "a".repeat(length).getBytes(StandardCharsets.US_ASCII);
      ByteArrayOutputStream piece = new ByteArrayOutputStream();
      message(1, text, piece);
      message(1, piece.toByteArray(), pieces);
    }
    Files.write(folder.resolve("tokenizer.model"), pieces.toByteArray());
    assertBad("at most 1,000,000 of 16,777,216 are read");
  }

  /** Writes a field of Protocol Buffers that holds bytes. */
  private static void message(int field, byte[] bytes, ByteArrayOutputStream out) {
    out.write(field << 3 | 2);
    int rest = bytes.length;
    for (; rest > 127; rest >>>= 7) {
      out.write(rest & 127 | 128);
    }
    out.write(rest);
    out.writeBytes(bytes);
  }

  @Test
  void aFolderWithATokenizerNeedsNone() throws IOException {
    writeVocabulary("GPT2Tokenizer");
    TestFiles.write(folder.resolve("tokenizer.json"), "{}");
    assertTrue(FolderTokenizer.of(folder).isEmpty());
  }

  /** Whatever is done to a good model, it is read or refused; nothing else, and soon. */
  @Test
  void mutatedModelsAreReadOrRefused() throws IOException {
    byte[] good = Files.readAllBytes(GGUF.resolve("pieces.model"));
    Path file = Files.write(folder.resolve("tokenizer.model"), good);
    int refused =
        MutatedFiles.refused(
            MutatedFiles.COUNT,
            file,
            good.length,
            "\n\0\1\u0080\u0015",
            () -> {
              FolderTokenizer.of(folder).get("tokenizer.json").get();
              return 0;
            });
    assertTrue(refused > 100, refused + " refused");
  }

  private void assertBad(String message) {
    BadInputException e =
        assertThrows(
            BadInputException.class, () -> FolderTokenizer.of(folder).get("tokenizer.json").get());
    assertTrue(e.getMessage().contains(message), e.getMessage());
    assertEquals(1, e.getMessage().lines().count(), e.getMessage());
  }
}
