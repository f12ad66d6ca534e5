package dev.laco.model;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.List;
import java.util.Objects;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** What configs say of attention with latent vectors. */
final class LatentAttentionTest {
  /** A config of four layers, without sizes of its attention. */
  private static ObjectNode config(String className, String modelType) {
    return TestConfigs.of(className, modelType, 64, 4);
  }

  private static ObjectNode youtu() {
    return config("YoutuForCausalLM", "youtu");
  }

  private static ObjectNode miniCpm() {
    return config("MiniCPM3ForCausalLM", "minicpm3");
  }

  private static ObjectNode glm() {
    return config("Glm4MoeLiteForCausalLM", "glm4_moe_lite")
        .put("n_routed_experts", 8)
        .put("num_experts_per_tok", 2)
        .put("moe_intermediate_size", 24);
  }

  private static LatentAttention sizes(ObjectNode config) {
    return Objects.requireNonNull(ModelConfig.parse("c", config).latentAttention());
  }

  @Test
  void sparseConfigsHaveTheSizesOfTheirClasses() {
    assertEquals(new LatentAttention(1536, 512, 128, 64, 128), sizes(youtu()));
    assertEquals(new LatentAttention(768, 512, 192, 64, 256), sizes(glm()));
    assertEquals(new LatentAttention(768, 256, 64, 32, 16), sizes(miniCpm()));
  }

  @Test
  void queriesMayHaveNoLatentVector() {
    ObjectNode config = youtu();
    config.putNull("q_lora_rank");
    ModelConfig direct = ModelConfig.parse("c", config);
    assertEquals(0, sizes(config).queryRank());
    assertEquals(
        List.of(LayerRole.QUERY, LayerRole.KEY_VALUE_COMPRESSION, LayerRole.ROTATED_KEY),
        direct.attentionInputRoles(TokenMixer.SOFTMAX));
    assertEquals(
        List.of(768L, 64L), direct.architecture().layerTensor(direct, 0, LayerRole.QUERY).shape());
  }

  @Test
  void headsAreAsWideAsQueriesAndRotateTheirLastElements() {
    ModelConfig config = ModelConfig.parse("c", youtu());
    assertEquals(192, config.headDim());
    assertEquals(64, config.rotaryDim());
    assertEquals(512, config.attendedWidth(TokenMixer.SOFTMAX));
    assertEquals(4, config.numKeyValueHeads());
    assertEquals(RotaryPairs.NEIGHBOURS, config.rotaryPairs());
    assertEquals(
        RotaryPairs.HALVES,
        ModelConfig.parse("c", youtu().put("rope_interleave", false)).rotaryPairs());
  }

  @Test
  void normsOfLatentVectorsHaveAnEpsilonOfTheirOwn() {
    ModelConfig config = ModelConfig.parse("c", youtu().put("rms_norm_eps", 0.5));
    assertEquals(0.5, config.norm().eps());
    assertEquals(1e-6, config.latentNorm().eps());
  }

  @ParameterizedTest
  @CsvSource({"rope_parameters, rope_type", "rope_scaling, type"})
  void aStretchedContextChangesTheScaleOfScores(String place, String type) {
    ObjectNode config = youtu();
    config
        .putObject(place)
        .put(type, "yarn")
        .put("factor", 40)
        .put("mscale", 1)
        .put("mscale_all_dim", 0.5)
        .put("original_max_position_embeddings", 4096);
    double stretched = 1 + 0.05 * Math.log(40);
    assertEquals(
        stretched * stretched / Math.sqrt(192),
        ModelConfig.parse("c", config).attentionScores().scale(),
        1e-15);
    ((ObjectNode) config.get(place)).put(type, "default");
    assertEquals(
        1 / Math.sqrt(192), ModelConfig.parse("c", config).attentionScores().scale(), 1e-15);
  }

  @ParameterizedTest
  @CsvSource({
    "qk_rope_head_dim, 7",
    "v_head_dim, 193",
    "num_key_value_heads, 2",
    "kv_lora_rank, 0",
    "q_lora_rank, -1"
  })
  void refusesSizesThatDoNotFit(String key, int value) {
    TestConfigs.assertRefused(youtu().put(key, value), key);
  }

  @Test
  void refusesBiases() {
    TestConfigs.assertRefused(youtu().put("attention_bias", true), "attention_bias");
  }

  @Test
  void mixturesThatMoveToTheFirstLayerAreNamed() {
    ObjectNode shallow = ConfigRewriter.rewrite("c", glm(), List.of(1, 2));
    assertEquals(
        List.of(true, true),
        Objects.requireNonNull(ModelConfig.parse("c", shallow).mixture()).layers());
    assertEquals("[\"sparse\",\"sparse\"]", shallow.get("mlp_layer_types").toString());
    assertTrue(
        ConfigRewriter.rewrite("c", glm(), List.of(0, 2)).path("mlp_layer_types").isMissingNode());
  }

  @Test
  void aModelWithFewerLayersAddsWhatItsLayersAdded() {
    double before = ModelConfig.parse("c", miniCpm()).residualScale();
    assertEquals(0.7, before, 1e-15);
    ObjectNode shallow = ConfigRewriter.rewrite("c", miniCpm(), List.of(0, 2));
    assertEquals(before, ModelConfig.parse("c", shallow).residualScale(), 1e-15);
    ObjectNode without = miniCpm();
    without.putNull("scale_depth");
    assertTrue(ConfigRewriter.rewrite("c", without, List.of(0, 2)).get("scale_depth").isNull());
  }
}
