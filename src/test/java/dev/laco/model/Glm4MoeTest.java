package dev.laco.model;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.laco.Fixtures;
import dev.laco.checkpoint.Checkpoint;
import dev.laco.model.RouterSpec.Scores;
import java.util.List;
import java.util.Objects;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Mixtures with the router of DeepSeek-V3, in GLM-4.5 and other families. */
final class Glm4MoeTest {
  /** A config of six layers. */
  private static ObjectNode config(String className, String modelType) {
    return TestConfigs.of(className, modelType, 32, 6)
        .put("num_key_value_heads", 2)
        .put("head_dim", 16);
  }

  private static ObjectNode glm() {
    return config("Glm4MoeForCausalLM", "glm4_moe")
        .put("n_routed_experts", 8)
        .put("num_experts_per_tok", 2)
        .put("moe_intermediate_size", 24)
        .put("n_shared_experts", 2)
        .put("first_k_dense_replace", 3)
        .put("routed_scaling_factor", 2.5);
  }

  private static ObjectNode ernie() {
    return config("Ernie4_5_MoeForCausalLM", "ernie4_5_moe")
        .put("moe_num_experts", 8)
        .put("moe_k", 3)
        .put("moe_intermediate_size", 24)
        .put("moe_layer_start_index", 1)
        .put("moe_layer_end_index", 4);
  }

  private static Mixture mixture(ObjectNode config) {
    return Objects.requireNonNull(ModelConfig.parse("c", config).mixture());
  }

  @Test
  void aConfigSaysWhatTheRouterDoes() {
    Mixture mixture = mixture(glm());
    assertEquals(new RouterSpec(Scores.SIGMOID, true, 2.5), mixture.router());
    assertEquals(48, mixture.sharedWidth());
    assertEquals(List.of(false, false, false, true, true, true), mixture.layers());
    assertEquals(3, mixture.firstWithout());
    assertEquals(0.5, ModelConfig.parse("c", glm()).rotations().getFirst().share());
  }

  @Test
  void expertsAreChosenFromGroups() {
    ObjectNode config = glm().put("n_group", 4).put("topk_group", 2);
    assertEquals(new RouterSpec.Groups(4, 2, 2), mixture(config).router().groups());
    assertNull(mixture(config.put("topk_group", 4)).router().groups());
    ObjectNode few = glm().put("n_group", 4).put("topk_group", 1).put("num_experts_per_tok", 3);
    TestConfigs.assertRefused(few, "topk_group");
  }

  @Test
  void ernieHasASoftmaxAndMixturesInTheMiddle() {
    Mixture mixture = mixture(ernie());
    assertEquals(new RouterSpec(Scores.SOFTMAX, true, 1), mixture.router());
    assertEquals(3, mixture.chosen());
    assertEquals(500_000, ModelConfig.parse("c", ernie()).rotations().getFirst().theta());
    assertEquals(List.of(false, true, true, true, true, false), mixture.layers());
    assertEquals(
        List.of(false, true, true, true, true, true),
        mixture(ernie().put("moe_layer_end_index", -1)).layers());
  }

  @Test
  void publishedConfigsOfMiniMaxCountTheElementsThatRotate() {
    ObjectNode config =
        config("MiniMaxM2ForCausalLM", "minimax_m2")
            .put("num_local_experts", 8)
            .put("num_experts_per_tok", 2)
            .put("rotary_dim", 8);
    assertEquals(0.5, ModelConfig.parse("c", config).rotations().getFirst().share());
    config.remove("rotary_dim");
    assertEquals(1, ModelConfig.parse("c", config).rotations().getFirst().share());
  }

  @Test
  void countsOfFirstLayersAreThoseThatStay() {
    ObjectNode glm = ConfigRewriter.rewrite("c", glm(), List.of(0, 2, 4, 5));
    assertEquals(2, glm.get("first_k_dense_replace").intValue());
    assertEquals(List.of(false, false, true, true), mixture(glm).layers());
    ObjectNode ernie = ConfigRewriter.rewrite("c", ernie(), List.of(1, 2, 4, 5));
    assertEquals(0, ernie.get("moe_layer_start_index").intValue());
    assertEquals(2, ernie.get("moe_layer_end_index").intValue());
    assertEquals(List.of(true, true, true, false), mixture(ernie).layers());
    ObjectNode all =
        ConfigRewriter.rewrite("c", ernie().put("moe_layer_end_index", -1), List.of(1, 2, 5));
    assertEquals(-1, all.get("moe_layer_end_index").intValue());
  }

  @ParameterizedTest
  @CsvSource({
    "n_group, 3, n_group",
    "n_group, 8, n_group",
    "topk_group, 2, topk_group",
    "routed_scaling_factor, 0, routed_scaling_factor",
    "n_shared_experts, 67108864, n_shared_experts",
    "num_experts_per_tok, 9, num_experts_per_tok"
  })
  void refusesWhatIsNotComputed(String key, int value, String named) {
    TestConfigs.assertRefused(glm().put(key, value), named);
  }

  @ParameterizedTest
  @CsvSource({"use_bias, true", "moe_layer_interval, 2"})
  void refusesWhatIsNotComputedOfErnie(String key, String value) {
    ObjectNode config = ernie();
    config.set(key, value.equals("true") ? config.booleanNode(true) : config.numberNode(2));
    TestConfigs.assertRefused(config, key);
  }

  /** Checkpoints of ERNIE have the tensors of such layers by names of their own. */
  @Test
  void ernieHasLaterTokensBesideTheLayers() {
    ModelConfig config = ModelConfig.parse("c", ernie());
    Architecture family = config.architecture();
    String tensor = "model.mtp_block.0.mlp.up_proj.weight";
    assertTrue(family.isOfPrediction(tensor, config));
    assertEquals(tensor, family.nameBeside(tensor, config, 3));
  }

  /** Of the fixture, layer 5 is behind the last. */
  @Test
  void layersThatPredictLaterTokensStayBehindTheLast() {
    try (Checkpoint model = Checkpoint.open(Fixtures.model("glm4_moe"))) {
      model.requireSupported();
      assertTrue(model.hasPredictionLayers());
      assertTrue(model.besideNames().contains("model.layers.5.eh_proj.weight"));
      Architecture family = model.config().architecture();
      assertEquals(
          "model.layers.3.eh_proj.weight",
          family.nameBeside("model.layers.5.eh_proj.weight", model.config(), 3));
    }
  }
}
