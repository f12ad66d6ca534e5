package dev.laco.checkpoint;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.BadInputException;
import dev.laco.checkpoint.gguf.GgufMetadata;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.Objects;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** GGUF files of models some of whose layers have a convolution in the place of attention. */
final class GgufShortConvolutionTest {
  private static final String FULL = "full_attention";
  private static final String CONVOLUTION = "conv";

  @TempDir Path folder;

  /** The config of a small model with these kinds of layers. */
  private static String config(String... types) {
    return String.format(
        Locale.ROOT,
        """
        {"architectures": ["Lfm2ForCausalLM"], "model_type": "lfm2", "hidden_size": 32,
         "intermediate_size": 60, "block_multiple_of": 8, "num_hidden_layers": %d,
         "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 64, "conv_L_cache": 4,
         "max_position_embeddings": 64, "layer_types": ["%s"]}
        """,
        types.length,
        String.join("\", \"", types));
  }

  @Test
  void aWrittenFileIsTheModel() throws IOException {
    Path model = ExportedGguf.model(folder, config(CONVOLUTION, FULL, CONVOLUTION, FULL));
    Path file = ExportedGguf.of(model);
    GgufMetadata metadata = ExportedGguf.metadata(file);
    assertEquals(List.of(0, 2, 0, 2), metadata.integers("lfm2.attention.head_count_kv"));
    assertEquals(4, metadata.integer("lfm2.shortconv.l_cache").orElseThrow());
    try (Checkpoint original = Checkpoint.open(model);
        Checkpoint written = Checkpoint.open(file)) {
      written.requireSupported();
      assertEquals(original.config().attention(), written.config().attention());
      assertEquals(original.config().convolution(), written.config().convolution());
      assertEquals(40, written.config().intermediateSize());
      ExportedGguf.assertSameWeights(original, written, "none is left out");
    }
  }

  @Test
  void aFileWithoutALayerNamesTheKindsOfTheOthers() throws IOException {
    Path file =
        ExportedGguf.of(
            ExportedGguf.model(folder, config(CONVOLUTION, FULL, CONVOLUTION, CONVOLUTION, FULL)));
    Path pruned = ExportedGguf.withoutLayer(2, file);
    assertEquals(
        List.of(0, 2, 0, 2),
        ExportedGguf.metadata(pruned).integers("lfm2.attention.head_count_kv"));
    try (Checkpoint written = Checkpoint.open(pruned)) {
      assertFalse(written.config().attention().get(2).hasSoftmax());
      assertTrue(written.config().attention().get(3).hasSoftmax());
    }
  }

  @Test
  void whatLlamaCppComputesOtherwiseIsRefused() throws IOException {
    String one = config(CONVOLUTION, FULL).replace("\"conv_L_cache\": 4", "\"conv_L_cache\": 1");
    ExportedGguf.assertRefused(ExportedGguf.model(folder, one), "of one token");
  }

  @Test
  void headsOfKeysThatDifferAreRefused() throws IOException {
    Path file = ExportedGguf.of(ExportedGguf.model(folder, config(CONVOLUTION, FULL)));
    byte[] bytes = Files.readAllBytes(file);
    String key = "lfm2.attention.head_count_kv";
    int end = new String(bytes, StandardCharsets.ISO_8859_1).indexOf(key) + key.length();
    // Behind the key stand the types of a list and of its elements, and their number.
    int first = end + 4 + 4 + 8;
    assertEquals(0, bytes[first]);
    bytes[first] = 1;
    Files.write(file, bytes);
    BadInputException refused =
        assertThrows(BadInputException.class, () -> Checkpoint.open(file).close());
    assertTrue(refused.getMessage().contains("head_count_kv"), refused::getMessage);
  }

  /** llama.cpp aborts on a model that has no memory of one of the two kinds. */
  @ParameterizedTest
  @ValueSource(strings = {FULL, CONVOLUTION})
  void aModelWithLayersOfOneKindIsRefused(String type) throws IOException {
    ExportedGguf.assertRefused(ExportedGguf.model(folder, config(type, type)), "of one kind");
  }

  /** The config of a small model with a mixture of experts in all layers but the first. */
  private static String mixture() {
    return config(CONVOLUTION, FULL, CONVOLUTION)
        .replace("Lfm2ForCausalLM", "Lfm2MoeForCausalLM")
        .replace(
            "\"lfm2\"",
            "\"lfm2_moe\", \"moe_intermediate_size\": 8, \"num_experts\": 4,"
                + " \"num_experts_per_tok\": 2, \"num_dense_layers\": 1");
  }

  @Test
  void aWrittenFileHasTheMixture() throws IOException {
    Path model = ExportedGguf.model(folder, mixture());
    Path file = ExportedGguf.of(model);
    try (Checkpoint original = Checkpoint.open(model);
        Checkpoint written = Checkpoint.open(file)) {
      written.requireSupported();
      assertEquals("Lfm2MoeForCausalLM", written.config().architecture().className());
      assertEquals(original.config().attention(), written.config().attention());
      assertEquals(original.config().mixture(), written.config().mixture());
      assertEquals(original.config().intermediateSize(), written.config().intermediateSize());
      ExportedGguf.assertSameWeights(original, written, "none is left out");
    }
    Path pruned = ExportedGguf.withoutLayer(2, file);
    try (Checkpoint written = Checkpoint.open(pruned)) {
      assertEquals(
          List.of(false, true), Objects.requireNonNull(written.config().mixture()).layers());
    }
  }

  /** llama.cpp reads neither the factor nor whether shares sum to 1. */
  @ParameterizedTest
  @ValueSource(strings = {"\"routed_scaling_factor\": 2", "\"norm_topk_prob\": false"})
  void otherSharesThanThoseOfLlamaCppAreRefused(String key) throws IOException {
    String config = mixture().replace("\"num_dense_layers\": 1", "\"num_dense_layers\": 1, " + key);
    ExportedGguf.assertRefused(ExportedGguf.model(folder, config), "shares do not sum to 1");
  }
}
