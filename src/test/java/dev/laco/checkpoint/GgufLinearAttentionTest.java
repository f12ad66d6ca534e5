package dev.laco.checkpoint;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.checkpoint.gguf.GgufMetadata;
import dev.laco.model.HostTensor;
import java.io.IOException;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** GGUF files of models some of whose layers have linear attention. */
final class GgufLinearAttentionTest {
  private static final int KEY_HEADS = 2;
  private static final int VALUE_HEADS = 6;
  private static final int WIDTH = 4;

  private static final String FULL = "full_attention";
  private static final String LINEAR = "linear_attention";

  @TempDir Path folder;

  /** The config of a small model whose layers have this attention. */
  private static String config(String className, String modelType, String... types) {
    return String.format(
        Locale.ROOT,
        """
        {"architectures": ["%s"], "model_type": "%s", "hidden_size": 32, "intermediate_size": 48,
         "num_hidden_layers": %d, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8,
         "vocab_size": 64, "rms_norm_eps": 1e-6, "tie_word_embeddings": false, "bos_token_id": 1,
         "linear_num_key_heads": %d, "linear_num_value_heads": %d, "linear_key_head_dim": %d,
         "linear_value_head_dim": %d, "num_experts": 3, "num_experts_per_tok": 2,
         "moe_intermediate_size": 16, "shared_expert_intermediate_size": 24,
         "max_position_embeddings": 64, "layer_types": ["%s"]}
        """,
        className,
        modelType,
        types.length,
        KEY_HEADS,
        VALUE_HEADS,
        WIDTH,
        WIDTH,
        String.join("\", \"", types));
  }

  private static String dense(String... types) {
    return config("Qwen3_5ForCausalLM", "qwen3_5_text", types);
  }

  @ParameterizedTest
  @CsvSource({
    "Qwen3_5ForCausalLM, qwen3_5_text",
    "Qwen3_5MoeForCausalLM, qwen3_5_moe_text",
    "Qwen3NextForCausalLM, qwen3_next"
  })
  void aWrittenFileIsTheModel(String className, String modelType) throws IOException {
    Path model =
        ExportedGguf.model(folder, config(className, modelType, LINEAR, FULL, LINEAR, LINEAR));
    try (Checkpoint original = Checkpoint.open(model);
        Checkpoint written = Checkpoint.open(ExportedGguf.of(model))) {
      written.requireSupported();
      assertEquals(original.config().attention(), written.config().attention());
      assertEquals(original.config().linearAttention(), written.config().linearAttention());
      assertEquals(original.config().mixture(), written.config().mixture());
      // Of A_log a file has the exponential.
      ExportedGguf.assertSameWeights(original, written, "A_log");
    }
  }

  /** The first heads of values of all key heads stand before the second ones. */
  @Test
  void headsOfValuesOfQwen35AreTiled() throws IOException {
    Path model = ExportedGguf.model(folder, dense(LINEAR, FULL));
    Path file = ExportedGguf.of(model);
    int values = VALUE_HEADS * WIDTH;
    try (Checkpoint original = Checkpoint.open(model)) {
      HostTensor logDecay = original.tensor("model.layers.0.linear_attn.A_log");
      HostTensor output = original.tensor("model.layers.0.linear_attn.out_proj.weight");
      HostTensor convolution = original.tensor("model.layers.0.linear_attn.conv1d.weight");
      float[] decays = ExportedGguf.values(file, "blk.0.ssm_a");
      float[] columns = ExportedGguf.values(file, "blk.0.ssm_out.weight");
      float[] kernels = ExportedGguf.values(file, "blk.0.ssm_conv1d.weight");
      for (int head = 0; head < VALUE_HEADS; head++) {
        int of = head % KEY_HEADS * (VALUE_HEADS / KEY_HEADS) + head / KEY_HEADS;
        assertEquals(-Math.exp(ExportedGguf.value(logDecay, of)), decays[head], 1e-6);
        for (int i = 0; i < WIDTH; i++) {
          assertEquals(
              ExportedGguf.value(output, values + of * WIDTH + i),
              columns[values + head * WIDTH + i]);
          int behind = 2 * KEY_HEADS * WIDTH;
          assertEquals(
              ExportedGguf.value(convolution, (behind + of * WIDTH + i) * 4 + 3),
              kernels[(behind + head * WIDTH + i) * 4 + 3]);
        }
      }
      assertEquals(ExportedGguf.value(convolution, 5), kernels[5]);
    }
  }

  /** Older programs know the number alone, so that it is written where it says enough. */
  @Test
  void aRegularModelNamesItsIntervalAndAnotherEachLayer() throws IOException {
    GgufMetadata regular =
        ExportedGguf.metadata(
            ExportedGguf.of(ExportedGguf.model(folder, dense(LINEAR, FULL, LINEAR, FULL, LINEAR))));
    assertEquals(2, regular.integer("qwen35.full_attention_interval").orElseThrow());
    assertFalse(regular.has("qwen35.attention.recurrent_layers"));
    assertEquals(List.of(11, 11, 10, 0), regular.integers("qwen35.rope.dimension_sections"));
  }

  @Test
  void aFileWithoutALayerNamesTheAttentionOfTheOthers() throws IOException {
    Path file =
        ExportedGguf.of(ExportedGguf.model(folder, dense(LINEAR, FULL, LINEAR, FULL, LINEAR)));
    Path pruned = ExportedGguf.withoutLayer(2, file);
    assertEquals(
        List.of(true, false, false, true),
        ExportedGguf.metadata(pruned).bools("qwen35.attention.recurrent_layers"));
    try (Checkpoint written = Checkpoint.open(pruned)) {
      assertTrue(written.config().attention().get(2).hasSoftmax());
      assertFalse(written.config().attention().get(3).hasSoftmax());
    }
  }

  @ParameterizedTest
  @CsvSource({
    "'\"linear_value_head_dim\": 4', '\"linear_value_head_dim\": 5', differ in width",
    "'\"rms_norm_eps\": 1e-6', '\"rms_norm_eps\": 1e-5', epsilon",
    "'\"head_dim\": 8,', '\"head_dim\": 8, \"attention_bias\": true,', bias",
    "'\"head_dim\": 8,', '\"head_dim\": 32, \"rope_parameters\": {\"mrope_section\": [1, 1, 2]},', mrope_section"
  })
  void whatLlamaCppComputesOtherwiseIsRefused(String is, String other, String named)
      throws IOException {
    Path model = ExportedGguf.model(folder, dense(LINEAR, FULL).replace(is, other));
    ExportedGguf.assertRefused(model, named);
  }

  /** llama.cpp aborts on a model that has no memory of one of the two kinds. */
  @ParameterizedTest
  @ValueSource(strings = {FULL, LINEAR})
  void aModelWithLayersOfOneKindIsRefused(String type) throws IOException {
    ExportedGguf.assertRefused(ExportedGguf.model(folder, dense(type, type)), "of one kind");
  }
}
