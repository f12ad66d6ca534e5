package dev.laco.checkpoint.export;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.BadInputException;
import dev.laco.Fixtures;
import dev.laco.checkpoint.Checkpoint;
import dev.laco.checkpoint.TestCheckpoints;
import dev.laco.checkpoint.gguf.GgufHeader;
import dev.laco.checkpoint.gguf.GgufMetadata;
import dev.laco.checkpoint.gguf.GgufTensor;
import dev.laco.checkpoint.gguf.GgufType;
import dev.laco.checkpoint.tokenizer.ChatFiles;
import dev.laco.model.GgufNames;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Written files beside those that llama.cpp's converter makes of the same models. */
class GgufExportTest {
  /** Keys whose values tell of the folder, or that one of both writes and no loader needs. */
  private static final Set<String> OTHERS =
      Set.of(
          "general.name",
          "general.size_label",
          "tokenizer.ggml.model",
          "tokenizer.ggml.add_sep_token",
          "tokenizer.ggml.add_bos_token",
          "phi3.rope.scaling.original_context_length",
          "baichuan.rope.dimension_count",
          "baichuan.tensor_data_layout",
          "falcon.tensor_data_layout",
          "command-r.rope.scaling.type",
          "cohere2.rope.scaling.type",
          "hunyuan-dense.rope.scaling.factor",
          "hunyuan-dense.rope.scaling.original_context_length",
          "hunyuan-dense.rope.scaling.type");

  @TempDir Path folder;

  /** A file, read without the class that was written for the other direction. */
  private record Gguf(MemorySegment bytes, GgufHeader header) {
    static Gguf read(Path file) throws IOException {
      MemorySegment bytes = MemorySegment.ofArray(Files.readAllBytes(file));
      return new Gguf(bytes, GgufHeader.read(file, bytes, 10_000));
    }

    Map<String, String> tensors() {
      Map<String, String> rows = new TreeMap<>();
      header
          .tensors()
          .forEach(tensor -> rows.put(tensor.name(), tensor.type() + " " + tensor.shape()));
      return rows;
    }

    byte[] data(String name) {
      GgufTensor tensor =
          header.tensors().stream().filter(t -> t.name().equals(name)).findFirst().orElseThrow();
      return bytes.asSlice(tensor.offset(), tensor.byteSize()).toArray(ValueLayout.JAVA_BYTE);
    }
  }

  private Path export(Path model, GgufType type, List<String> warnings) {
    Path file = folder.resolve("out.gguf");
    try (Checkpoint checkpoint = Checkpoint.open(model)) {
      new GgufExport(checkpoint, type, warnings::add).write(file, bytes -> {});
    }
    return file;
  }

  @Test
  void aFileWithoutATokenizerIsNotSaidToBeMissing() {
    List<String> warnings = new ArrayList<>();
    Path file = made("qwen2_bias.q8_0");
    export(file, GgufType.F16, warnings);
    assertEquals(
        List.of(file + ": has no tokenizer; the GGUF file will have no tokenizer"), warnings);
  }

  /** As in a half-downloaded cache. */
  @ParameterizedTest
  @ValueSource(strings = {"tokenizer.json", "tokenizer_config.json"})
  void aLinkToATokenizerThatIsGoneIsRefused(String name) throws IOException {
    Path model = TestCheckpoints.copy("llama_untied_gqa", folder.resolve("model"));
    Files.createSymbolicLink(model.resolve(name), folder.resolve("gone"));
    List<String> warnings = new ArrayList<>();
    BadInputException refused =
        assertThrows(BadInputException.class, () -> export(model, GgufType.BF16, warnings));
    assertTrue(
        refused.getMessage().contains(name + ": is a symbolic link to nothing"),
        refused::getMessage);
  }

  /** A tree of JSON takes many times the memory of its text. */
  @Test
  void aPartOfATokenizerOfManyBytesIsRefused() throws IOException {
    Path model = TestCheckpoints.copy("llama_untied_gqa", folder.resolve("model"));
    Path tokenizer =
        Files.copy(Fixtures.STORYTELLER.resolve("tokenizer.json"), model.resolve("tokenizer.json"));
    TestCheckpoints.edit(
        tokenizer,
        text ->
            text.replaceFirst(
                "\"normalizer\": ?null", "\"normalizer\": [" + "[],".repeat(800_000) + "0]"));
    BadInputException refused =
        assertThrows(
            BadInputException.class, () -> export(model, GgufType.BF16, new ArrayList<>()));
    assertTrue(
        refused.getMessage().contains("tokenizer.json: normalizer: a value has 2,400,003 bytes"),
        refused::getMessage);
  }

  @Test
  void aTokenizerInUtf16IsRefused() throws IOException {
    Path model = TestCheckpoints.copy("llama_untied_gqa", folder.resolve("model"));
    Files.writeString(
        model.resolve("tokenizer.json"),
        Files.readString(Fixtures.STORYTELLER.resolve("tokenizer.json")),
        StandardCharsets.UTF_16);
    BadInputException refused =
        assertThrows(
            BadInputException.class, () -> export(model, GgufType.BF16, new ArrayList<>()));
    assertTrue(
        refused
            .getMessage()
            .endsWith("tokenizer.json is not UTF-8 text, convert the file to UTF-8"),
        refused::getMessage);
  }

  private static Path made(String name) {
    return Fixtures.RESOURCES.resolve("gguf").resolve(name + ".gguf");
  }

  @ParameterizedTest
  @CsvSource({
    "llama_tied_rope3, BF16",
    "llama_mha_bias_f16, F16",
    "llama_untied_gqa, Q8_0",
    "qwen2_bias, Q8_0",
    "qwen3_qknorm, Q8_0",
    "phi3_std, Q8_0",
    "granite, Q8_0",
    "smollm3_std, Q8_0",
    "gemma_v1, Q8_0",
    "gemma2_std, Q8_0",
    "gemma3_std, Q8_0",
    "olmo2, Q8_0",
    "mixtral, Q8_0",
    "gpt_neox, Q8_0",
    "internlm2, Q8_0",
    "gpt_oss, Q8_0"
  })
  void tensorsAndMetadataAreThoseOfTheConverter(String fixture, GgufType type) throws IOException {
    List<String> warnings = new ArrayList<>();
    Gguf found = Gguf.read(export(Fixtures.model(fixture), type, warnings));
    Gguf expected = Gguf.read(made(fixture + "." + type.name().toLowerCase(Locale.ROOT)));
    assertTrue(warnings.getLast().contains("no tokenizer"), warnings::toString);
    assertEquals(expected.tensors(), found.tensors());
    for (String name : expected.tensors().keySet()) {
      if (name.equals(GgufNames.ROPE_FACTORS)) {
        assertFactors(expected.data(name), found.data(name));
      } else {
        assertArrayEquals(expected.data(name), found.data(name), name);
      }
    }
    assertSame(expected.header.metadata(), found.header.metadata(), true);
  }

  /** Families without a fixture: what is read from a file of the converter is written as it was. */
  @ParameterizedTest
  @ValueSource(
      strings = {
        "olmo3",
        "exaone4_no_window",
        "qwen2_moe",
        "qwen3_moe_all",
        "phi3_long_rope",
        "baichuan_alibi",
        "baichuan_rotated",
        "cohere",
        "cohere2",
        "dots1",
        "ernie4_5",
        "ernie4_5_moe",
        "falcon",
        "falcon_two_norms",
        "glm",
        "glm4",
        "glm4_moe",
        "granitemoe",
        "hunyuan_v1_dense",
        "minimax_m2",
        "seed_oss",
        "stablelm",
        "starcoder2"
      })
  void aFileOfTheConverterIsWrittenAgainAsItWas(String name) throws IOException {
    Path file = made(name + ".f16");
    Gguf expected = Gguf.read(file);
    Gguf found = Gguf.read(export(file, GgufType.F16, new ArrayList<>()));
    assertEquals(expected.tensors(), found.tensors());
    for (String tensor : expected.tensors().keySet()) {
      assertArrayEquals(expected.data(tensor), found.data(tensor), tensor);
    }
    assertSame(expected.header.metadata(), found.header.metadata(), true);
  }

  /** The converter computes them in f32. */
  private static void assertFactors(byte[] expected, byte[] found) {
    for (int i = 0; i < expected.length / Float.BYTES; i++) {
      float wanted =
          MemorySegment.ofArray(expected).getAtIndex(ValueLayout.JAVA_FLOAT_UNALIGNED, i);
      assertEquals(
          wanted,
          MemorySegment.ofArray(found).getAtIndex(ValueLayout.JAVA_FLOAT_UNALIGNED, i),
          1e-5f * wanted);
    }
  }

  /** Every key of the converter, with its value; the engine writes more where {@code more}. */
  private static void assertSame(GgufMetadata expected, GgufMetadata found, boolean more) {
    Set<String> missing = new TreeSet<>(expected.keys());
    missing.removeAll(found.keys());
    missing.removeAll(OTHERS);
    assertEquals(Set.of(), missing);
    for (String key : expected.keys()) {
      if (found.has(key) && !OTHERS.contains(key)) {
        assertEquals(expected.show(key), found.show(key), key);
      }
    }
    assertTrue(more || found.keys().equals(expected.keys()));
  }

  @Test
  void theTokenizerIsThatOfTheConverter() throws IOException {
    List<String> warnings = new ArrayList<>();
    GgufMetadata found =
        Gguf.read(export(Fixtures.STORYTELLER, GgufType.BF16, warnings)).header.metadata();
    GgufMetadata expected = Gguf.read(made("storyteller.vocab")).header.metadata();
    assertEquals(List.of(), warnings);
    assertSame(expected, found, true);
    for (String key : List.of("tokenizer.ggml.tokens", "tokenizer.ggml.merges")) {
      assertEquals(expected.strings(key), found.strings(key), key);
    }
    assertEquals(
        expected.integers("tokenizer.ggml.token_type"),
        found.integers("tokenizer.ggml.token_type"));
    assertEquals("gpt2", found.string("tokenizer.ggml.model").orElseThrow());
  }

  /** The keys are those of llama.cpp's converter. */
  @Test
  void theTemplateOfChatsWithToolsIsWrittenAndRead() throws IOException {
    Path model = Files.createDirectory(folder.resolve("model"));
    try (Stream<Path> files = Files.list(Fixtures.STORYTELLER)) {
      for (Path file : files.toList()) {
        Files.copy(file, model.resolve(file.getFileName().toString()));
      }
    }
    Files.writeString(
        model.resolve("tokenizer_config.json"),
        "{\"chat_template\": [{\"name\": \"default\", \"template\": \"usual\"},"
            + " {\"name\": \"tool_use\", \"template\": \"for tools\"}]}");
    Path file = export(model, GgufType.BF16, new ArrayList<>());
    GgufMetadata written = Gguf.read(file).header.metadata();
    assertEquals(Optional.of("usual"), written.string("tokenizer.chat_template"));
    assertEquals(Optional.of("for tools"), written.string("tokenizer.chat_template.tool_use"));
    assertEquals(List.of("tool_use"), written.strings("tokenizer.chat_templates"));
    try (Checkpoint read = Checkpoint.open(file)) {
      ChatFiles chats = new ChatFiles(file, () -> read.json("tokenizer_config.json"));
      assertEquals(Optional.of("usual"), chats.template());
      assertEquals(Optional.of("for tools"), chats.templateForTools());
    }
  }

  /** llama.cpp opens no file with more tokens than the embedding has rows. */
  @Test
  void tokensWithoutARowInTheEmbeddingAreLeftOutAndToldOf() throws IOException {
    Path model = Files.createDirectory(folder.resolve("model"));
    try (Stream<Path> files = Files.list(Fixtures.STORYTELLER)) {
      for (Path file : files.toList()) {
        Files.copy(file, model.resolve(file.getFileName().toString()));
      }
    }
    int rows = Fixtures.read(model.resolve("config.json")).get("vocab_size").intValue();
    TestCheckpoints.edit(
        model.resolve("tokenizer.json"),
        text ->
            text.replaceFirst(
                "\"added_tokens\": \\[",
                String.format(
                    Locale.ROOT,
                    "$0 {\"id\": %d, \"content\": \"<image>\", \"special\": true},"
                        + " {\"id\": %d, \"content\": \"<audio>\", \"special\": true},",
                    rows,
                    rows + 1)));
    List<String> warnings = new ArrayList<>();
    GgufMetadata written = Gguf.read(export(model, GgufType.BF16, warnings)).header.metadata();
    assertEquals(rows, written.strings("tokenizer.ggml.tokens").size());
    assertEquals(rows, written.integers("tokenizer.ggml.token_type").size());
    assertEquals(1, warnings.size(), warnings::toString);
    assertTrue(
        warnings.getFirst().contains("2, of which the first is '<image>' (" + rows + ")"),
        warnings::toString);
  }

  /** A layer that predicts later tokens is no part of a GGUF file, and this is said. */
  @Test
  void layersThatPredictLaterTokensAreLeftOut() {
    List<String> warnings = new ArrayList<>();
    Path file = export(Fixtures.model("glm4_moe"), GgufType.F32, warnings);
    assertTrue(
        warnings.stream().anyMatch(warning -> warning.contains("beyond the next one are left out")),
        warnings::toString);
    try (Checkpoint original = Checkpoint.open(Fixtures.model("glm4_moe"));
        Checkpoint written = Checkpoint.open(file)) {
      written.requireSupported();
      assertEquals(original.config().mixture(), written.config().mixture());
      assertFalse(written.hasPredictionLayers());
    }
  }

  /** What was written is read as the model that was written. */
  @Test
  void aWrittenFileIsTheModel() {
    Path file = export(Fixtures.STORYTELLER, GgufType.F32, new ArrayList<>());
    try (Checkpoint original = Checkpoint.open(Fixtures.STORYTELLER);
        Checkpoint written = Checkpoint.open(file)) {
      assertEquals(original.config(), written.config());
      assertFalse(written.madeFiles().isEmpty());
    }
  }

  @ParameterizedTest
  @CsvSource({
    "mistral_std, '\"sliding_window\": null', '\"sliding_window\": 8', windows",
    "llama_linear, '\"hidden_act\": \"silu\"', '\"hidden_act\": \"gelu_pytorch_tanh\"', activation",
    "qwen3_qknorm, '\"attention_bias\": false', '\"attention_bias\": true', bias",
    "olmoe, '\"use_cache\": true', '\"use_cache\": false', grouped queries",
    "gpt_oss, sliding_attention, full_attention, without attention windows",
    "glm4_moe, '\"n_group\": 1', '\"n_group\": 2', groups of experts",
    "gemma2_std, '\"sliding_window\": 8', '\"layer_types\": ALL_FULL', without attention windows"
  })
  void whatLlamaCppDoesNotComputeIsRefused(String fixture, String is, String other, String named) {
    String full = Collections.nCopies(8, "\"full_attention\"").toString();
    Path model = copy(fixture, is, other.replace("ALL_FULL", full));
    BadInputException refused =
        assertThrows(BadInputException.class, () -> export(model, GgufType.F16, new ArrayList<>()));
    assertTrue(refused.getMessage().contains(named), refused::getMessage);
  }

  @ParameterizedTest
  @CsvSource({
    "qwen3_moe, some of the layers",
    "olmoe, grouped queries",
    "baichuan2_13b, at 40 layers alone"
  })
  void modelsThatLlamaCppDoesNotComputeAreRefused(String fixture, String named) {
    BadInputException refused =
        assertThrows(
            BadInputException.class,
            () -> export(Fixtures.model(fixture), GgufType.F16, new ArrayList<>()));
    assertTrue(refused.getMessage().contains(named), refused::getMessage);
  }

  /** Baichuan 2 divides the rows of its head by their lengths; llama.cpp reads them as they are. */
  @Test
  void theHeadOfBaichuan2IsWrittenWithRowsOfLengthOne() throws IOException {
    Gguf file = Gguf.read(export(Fixtures.model("baichuan2_7b"), GgufType.F32, new ArrayList<>()));
    MemorySegment head = MemorySegment.ofArray(file.data(GgufNames.HEAD));
    int width = (int) file.header.metadata().integer("llama.embedding_length").orElseThrow();
    for (long row = 0; row < head.byteSize() / Float.BYTES / width; row++) {
      double squares = 0;
      for (int i = 0; i < width; i++) {
        float value = head.getAtIndex(ValueLayout.JAVA_FLOAT_UNALIGNED, row * width + i);
        squares += (double) value * value;
      }
      assertEquals(1, squares, 1e-6);
    }
  }

  @Test
  void aWindowThatLlamaCppIgnoresIsToldOf() {
    Path model = copy("phi3_std", "\"sliding_window\": null", "\"sliding_window\": 8");
    List<String> warnings = new ArrayList<>();
    export(model, GgufType.F32, warnings);
    assertTrue(warnings.getFirst().contains("window of 8 tokens"), warnings::toString);
  }

  private Path copy(String fixture, String is, String other) {
    Path model = TestCheckpoints.copy(fixture, folder.resolve("model"));
    TestCheckpoints.edit(model.resolve("config.json"), text -> text.replace(is, other));
    return model;
  }
}
