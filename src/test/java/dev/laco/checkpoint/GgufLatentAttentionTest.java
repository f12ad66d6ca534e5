package dev.laco.checkpoint;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.BadInputException;
import dev.laco.checkpoint.export.GgufFile;
import dev.laco.checkpoint.gguf.GgufMetadata;
import dev.laco.model.HostTensor;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** GGUF files of models with multi-head latent attention. */
final class GgufLatentAttentionTest {
  private static final int HEADS = 4;
  private static final int RANK = 12;
  private static final int UNROTATED = 8;
  private static final int ROTATED = 4;
  private static final int VALUE = 6;

  private static final String YARN =
      """
      "rope_scaling": {"type": "yarn", "factor": 4, "original_max_position_embeddings": 16,
                       "mscale": 0.707, "mscale_all_dim": 0.707}
      """;

  @TempDir Path folder;

  /** The config of a small model. */
  private static String config(String className, String modelType, int layers, String more) {
    return String.format(
        Locale.ROOT,
        """
        {"architectures": ["%s"], "model_type": "%s", "hidden_size": 32, "intermediate_size": 48,
         "num_hidden_layers": %d, "num_attention_heads": %d, "vocab_size": 64, "rms_norm_eps": 1e-6,
         "tie_word_embeddings": false, "bos_token_id": 1, "max_position_embeddings": 64,
         "kv_lora_rank": %d, "qk_nope_head_dim": %d, "qk_rope_head_dim": %d, "v_head_dim": %d,
         "n_routed_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 16,
         "n_shared_experts": 1, "n_group": 4, "topk_group": 2, "first_k_dense_replace": 1,
         "num_nextn_predict_layers": 0, %s}
        """,
        className,
        modelType,
        layers,
        HEADS,
        RANK,
        UNROTATED,
        ROTATED,
        VALUE,
        more);
  }

  private static String v2(int layers) {
    return config("DeepseekV2ForCausalLM", "deepseek_v2", layers, "\"q_lora_rank\": null");
  }

  private static String v3(int layers) {
    return config("DeepseekV3ForCausalLM", "deepseek_v3", layers, "\"q_lora_rank\": 10, " + YARN);
  }

  @ParameterizedTest
  @CsvSource({
    "DeepseekV2ForCausalLM, deepseek_v2, null",
    "DeepseekV3ForCausalLM, deepseek_v3, 10",
    "YoutuForCausalLM, youtu, 10"
  })
  void aWrittenFileIsTheModel(String className, String modelType, String queryRank)
      throws IOException {
    String more = "\"q_lora_rank\": " + queryRank + ", " + YARN;
    Path model = ExportedGguf.model(folder, config(className, modelType, 3, more));
    try (Checkpoint original = Checkpoint.open(model);
        Checkpoint written = Checkpoint.open(ExportedGguf.of(model))) {
      written.requireSupported();
      assertEquals(original.config().architecture(), written.config().architecture());
      assertEquals(original.config().latentAttention(), written.config().latentAttention());
      assertEquals(original.config().mixture(), written.config().mixture());
      assertEquals(original.config().attention(), written.config().attention());
      assertEquals(original.config().attentionScores(), written.config().attentionScores());
      ExportedGguf.assertSameWeights(original, written, "none");
    }
  }

  /** llama.cpp multiplies queries by the keys' matrix of each head. */
  @Test
  void keysOfEachHeadAreTransposed() throws IOException {
    Path model = ExportedGguf.model(folder, v2(2));
    Path file = ExportedGguf.of(model);
    try (Checkpoint original = Checkpoint.open(model)) {
      HostTensor both = original.tensor("model.layers.1.self_attn.kv_b_proj.weight");
      float[] keys = ExportedGguf.values(file, "blk.1.attn_k_b.weight");
      float[] values = ExportedGguf.values(file, "blk.1.attn_v_b.weight");
      assertEquals(HEADS * RANK * UNROTATED, keys.length);
      assertEquals(HEADS * RANK * VALUE, values.length);
      for (int head = 0; head < HEADS; head++) {
        int first = head * (UNROTATED + VALUE);
        for (int i = 0; i < RANK; i++) {
          for (int row = 0; row < UNROTATED; row++) {
            assertEquals(
                ExportedGguf.value(both, (first + row) * RANK + i),
                keys[(head * RANK + i) * UNROTATED + row]);
          }
          for (int row = 0; row < VALUE; row++) {
            assertEquals(
                ExportedGguf.value(both, (first + UNROTATED + row) * RANK + i),
                values[(head * VALUE + row) * RANK + i]);
          }
        }
      }
    }
  }

  @Test
  void metadataAreThoseOfOneSharedKey() throws IOException {
    GgufMetadata metadata =
        ExportedGguf.metadata(ExportedGguf.of(ExportedGguf.model(folder, v3(2))));
    String[] keys = {
      "attention.head_count_kv", "attention.key_length", "attention.value_length",
      "attention.key_length_mla", "attention.value_length_mla", "attention.kv_lora_rank",
      "attention.q_lora_rank", "rope.dimension_count", "expert_group_count",
      "expert_group_used_count", "leading_dense_block_count", "expert_gating_func"
    };
    long[] expected = {
      1, RANK + ROTATED, RANK, UNROTATED + ROTATED, VALUE, RANK, 10, ROTATED, 4, 2, 1, 2
    };
    for (int i = 0; i < keys.length; i++) {
      assertEquals(expected[i], metadata.integer("deepseek2." + keys[i]).orElseThrow(), keys[i]);
    }
    double multiplier = metadata.number("deepseek2.rope.scaling.yarn_log_multiplier").orElseThrow();
    assertEquals(0.0707, multiplier, 1e-7);
  }

  /** At most depths llama.cpp requires the number also of models whose queries have none. */
  @Test
  void aModelWithoutLatentQueriesSaysSo() throws IOException {
    GgufMetadata metadata =
        ExportedGguf.metadata(ExportedGguf.of(ExportedGguf.model(folder, v2(2))));
    assertEquals(0, metadata.integer("deepseek2.attention.q_lora_rank").orElseThrow());
  }

  /** Files of DeepSeek-V2-Lite do not have the number, which llama.cpp requires of fewer layers. */
  @Test
  void aFileWithoutALayerSaysWhatLlamaCppDerivedFromTheNumberOfLayers() throws IOException {
    String twoDense = "\"first_k_dense_replace\": 2";
    Path file =
        ExportedGguf.of(
            ExportedGguf.model(folder, v2(3).replace("\"first_k_dense_replace\": 1", twoDense)));
    rename(file, "deepseek2.attention.q_lora_rank", "deepseek2.attention.q_lora_none");
    rename(file, "deepseek2.expert_gating_func", "deepseek2.expert_gating_none");
    GgufMetadata metadata = ExportedGguf.metadata(ExportedGguf.withoutLayer(1, file));
    assertEquals(0, metadata.integer("deepseek2.attention.q_lora_rank").orElseThrow());
    assertEquals(1, metadata.integer("deepseek2.expert_gating_func").orElseThrow());
    assertEquals(1, metadata.integer("deepseek2.leading_dense_block_count").orElseThrow());
  }

  @Test
  void allLayersOfAModelWithoutExpertsAreDense() throws IOException {
    String youtu = config("YoutuForCausalLM", "youtu", 3, "\"q_lora_rank\": 10");
    Path file = ExportedGguf.of(ExportedGguf.model(folder, youtu));
    String dense = "deepseek2.leading_dense_block_count";
    assertEquals(3, ExportedGguf.metadata(file).integer(dense).orElseThrow());
    Path pruned = ExportedGguf.withoutLayer(1, file);
    assertEquals(2, ExportedGguf.metadata(pruned).integer(dense).orElseThrow());
  }

  @Test
  void aFileOfAnEarlyReleaseIsRefused() throws IOException {
    Path file = ExportedGguf.of(ExportedGguf.model(folder, v2(2)));
    rename(file, "deepseek2.attention.key_length_mla", "deepseek2.attention.key_length_nil");
    BadInputException refused =
        assertThrows(BadInputException.class, () -> Checkpoint.open(file).close());
    assertTrue(refused.getMessage().contains("key_length_mla' is missing"), refused::getMessage);
  }

  @ParameterizedTest
  @CsvSource({
    "'\"mscale\": 0.707', '\"mscale\": 1', mscale",
    "'\"mscale\": 0.707, \"mscale_all_dim\": 0.707', '\"attention_factor\": 1', mscale_all_dim",
    "'\"type\": \"yarn\"', '\"type\": \"linear\"', YaRN",
    "'\"rms_norm_eps\": 1e-6', '\"rms_norm_eps\": 1e-4', epsilon",
    "'\"q_lora_rank\": 10,', '\"q_lora_rank\": 10, \"rope_interleave\": false,', halves",
    "'\"num_hidden_layers\": 2', '\"num_hidden_layers\": 27', 27 layers"
  })
  void whatLlamaCppComputesOtherwiseIsRefused(String is, String other, String named)
      throws IOException {
    String config = v3(2).replaceAll("\\s+", " ");
    assertTrue(config.contains(is), config);
    Path model = ExportedGguf.model(folder, config.replace(is, other));
    ExportedGguf.assertRefused(model, named);
    assertEquals(!named.equals("27 layers"), isRefusedOfAnyLayers(model));
  }

  /** Whether it is refused before a search for the layers that are removed. */
  private static boolean isRefusedOfAnyLayers(Path model) {
    try (Checkpoint checkpoint = Checkpoint.open(model)) {
      GgufFile.requireOfAnyLayers(checkpoint);
      return false;
    } catch (BadInputException e) {
      return true;
    }
  }

  @Test
  void groupsThatAreChosenByTheirBestExpertAreRefused() throws IOException {
    String limited = "\"q_lora_rank\": null, \"topk_method\": \"group_limited_greedy\"";
    Path model =
        ExportedGguf.model(folder, config("DeepseekV2ForCausalLM", "deepseek_v2", 2, limited));
    ExportedGguf.assertRefused(model, "best one");
  }

  @Test
  void anotherEpsilonOfLatentVectorsIsSaid() throws IOException {
    Path model = ExportedGguf.model(folder, v2(2).replace("1e-6", "1e-5"));
    List<String> warnings = new ArrayList<>();
    ExportedGguf.of(model, warnings::add);
    assertTrue(
        warnings.stream().anyMatch(line -> line.contains("rms_norm_eps")), () -> "" + warnings);
    assertFalse(warnings.stream().anyMatch(line -> line.contains("YaRN")), () -> "" + warnings);
  }

  /** Gives a key of metadata another name of the same length. */
  private static void rename(Path file, String key, String other) throws IOException {
    assertEquals(key.length(), other.length());
    String bytes = Files.readString(file, StandardCharsets.ISO_8859_1);
    assertTrue(bytes.contains(key), key);
    Files.writeString(file, bytes.replace(key, other), StandardCharsets.ISO_8859_1);
  }
}
