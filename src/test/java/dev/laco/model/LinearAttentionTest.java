package dev.laco.model;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** What configs say of layers with linear attention. */
final class LinearAttentionTest {
  private static ObjectNode dense() {
    return TestConfigs.of("Qwen3_5ForCausalLM", "qwen3_5_text", 64, 8);
  }

  private static ObjectNode mixture() {
    return TestConfigs.of("Qwen3_5MoeForCausalLM", "qwen3_5_moe_text", 64, 8)
        .put("num_experts", 3)
        .put("num_experts_per_tok", 2)
        .put("moe_intermediate_size", 16);
  }

  private static ObjectNode next() {
    return TestConfigs.of("Qwen3NextForCausalLM", "qwen3_next", 64, 8)
        .put("num_experts", 3)
        .put("num_experts_per_tok", 2)
        .put("moe_intermediate_size", 16);
  }

  private static ModelConfig parse(ObjectNode config) {
    return ModelConfig.parse("c", config);
  }

  /** The indices of layers with linear attention. */
  private static List<Integer> linear(ModelConfig config) {
    return IntStream.range(0, config.numHiddenLayers())
        .filter(layer -> !config.attention().get(layer).hasSoftmax())
        .boxed()
        .toList();
  }

  @Test
  void sparseConfigsHaveTheSizesOfTheirClass() {
    ModelConfig config = parse(dense());
    assertEquals(new LinearAttention(16, 32, 128, 128, 4), config.linearAttention());
    assertEquals(256, config.headDim());
    assertEquals(4, config.numKeyValueHeads());
    assertEquals(List.of(0, 1, 2, 4, 5, 6), linear(config));
    RopeParameters rotation = Objects.requireNonNull(config.attention().get(3).rotation());
    assertEquals(64, rotation.rotated(config.headDim()));
    assertNull(config.attention().get(0).rotation());
    assertEquals(2, parse(mixture()).numKeyValueHeads());
  }

  @Test
  void layersHaveTheTensorsOfTheirKind() {
    ObjectNode config = dense().put("linear_num_key_heads", 2).put("linear_num_value_heads", 4);
    config.put("linear_key_head_dim", 8).put("linear_value_head_dim", 6);
    config.put("linear_conv_kernel_dim", 3).put("head_dim", 16).put("attention_bias", true);
    ModelConfig sizes = parse(config);
    assertEquals(List.of(56L, 64L), TestConfigs.shape(sizes, 0, LayerRole.LINEAR_HEADS));
    assertEquals(List.of(24L, 64L), TestConfigs.shape(sizes, 0, LayerRole.LINEAR_GATE));
    assertEquals(List.of(4L, 64L), TestConfigs.shape(sizes, 0, LayerRole.LINEAR_DECAY));
    assertEquals(List.of(56L, 1L, 3L), TestConfigs.shape(sizes, 0, LayerRole.CONVOLUTION));
    assertEquals(List.of(6L), TestConfigs.shape(sizes, 0, LayerRole.LINEAR_NORM));
    assertEquals(List.of(64L, 24L), TestConfigs.shape(sizes, 0, LayerRole.OUTPUT));
    assertEquals(
        List.of(128L, 64L),
        TestConfigs.shape(sizes, 3, LayerRole.QUERY),
        "queries and their gates");
    assertEquals(List.of(128L), TestConfigs.shape(sizes, 3, LayerRole.QUERY_BIAS));
    assertEquals(List.of(64L, 64L), TestConfigs.shape(sizes, 3, LayerRole.OUTPUT));
    assertEquals(64, sizes.widestAttended());
    List<String> first = sizes.architecture().tensorNames(0, sizes);
    List<String> fourth = sizes.architecture().tensorNames(3, sizes);
    assertTrue(first.contains("model.layers.0.linear_attn.out_proj.weight"), first.toString());
    assertFalse(first.toString().contains("self_attn"), first.toString());
    assertTrue(fourth.contains("model.layers.3.self_attn.o_proj.weight"), fourth.toString());
    assertFalse(fourth.toString().contains("linear_attn"), fourth.toString());
  }

  /** Of Qwen3-Next two matrices project the input, each with the rows of a key head together. */
  @Test
  void projectionsMayBeFused() {
    ObjectNode config = next().put("linear_num_key_heads", 2).put("linear_num_value_heads", 4);
    config.put("linear_key_head_dim", 8).put("linear_value_head_dim", 6);
    config.putArray("mlp_only_layers").add(1);
    ModelConfig sizes = parse(config);
    assertTrue(sizes.linearHeadsByKey());
    assertFalse(parse(mixture()).linearHeadsByKey());
    assertEquals(List.of(80L, 64L), TestConfigs.shape(sizes, 0, LayerRole.LINEAR_HEADS_GATE));
    assertEquals(List.of(8L, 64L), TestConfigs.shape(sizes, 0, LayerRole.LINEAR_RATE_DECAY));
    assertEquals(List.of(56L, 1L, 4L), TestConfigs.shape(sizes, 0, LayerRole.CONVOLUTION));
    List<String> first = sizes.architecture().tensorNames(0, sizes);
    assertTrue(first.contains("model.layers.0.linear_attn.in_proj_qkvz.weight"), first.toString());
    assertTrue(first.contains("model.layers.0.linear_attn.in_proj_ba.weight"), first.toString());
    assertTrue(first.contains("model.layers.0.mlp.experts.2.up_proj.weight"), first.toString());
    assertFalse(first.toString().contains("in_proj_z"), first.toString());
    List<String> second = sizes.architecture().tensorNames(1, sizes);
    assertTrue(second.contains("model.layers.1.mlp.up_proj.weight"), second.toString());
    assertFalse(second.toString().contains("experts"), second.toString());
  }

  @Test
  void sparseConfigsOfQwen3NextHaveTheSizesOfTheirClass() {
    ModelConfig config = parse(next());
    assertEquals(new LinearAttention(16, 32, 128, 128, 4), config.linearAttention());
    assertEquals(2, config.numKeyValueHeads());
    assertEquals(List.of(0, 1, 2, 4, 5, 6), linear(config));
    Mixture mixture = Objects.requireNonNull(config.mixture());
    assertEquals(512, mixture.sharedWidth());
    assertTrue(mixture.router().normalised());
  }

  @ParameterizedTest
  @CsvSource({
    "linear_num_key_heads, 3, linear_num_value_heads",
    "linear_num_value_heads, 8, linear_num_value_heads",
    "linear_conv_kernel_dim, 0, linear_conv_kernel_dim",
    "linear_key_head_dim, -1, linear_key_head_dim",
    "full_attention_interval, 0, full_attention_interval"
  })
  void sizesThatDoNotFitAreRefused(String key, int value, String named) {
    TestConfigs.assertRefused(dense().put(key, value), named);
  }

  @Test
  void aTypeThatThereIsNotIsRefused() {
    ObjectNode config = dense();
    ArrayNode types = config.putArray("layer_types");
    for (int layer = 0; layer < 8; layer++) {
      types.add(layer == 5 ? "sliding_attention" : "linear_attention");
    }
    TestConfigs.assertRefused(config, "layer_types");
  }

  /** A shallower config names the kind of each layer that is left, where it was an interval. */
  @Test
  void layersKeepTheirKindsInAShallowerConfig() {
    for (ObjectNode config : List.of(dense(), dense().put("full_attention_interval", 3))) {
      List<LayerAttention> before = parse(config).attention();
      List<Integer> bases = List.of(0, 2, 3, 5, 7);
      ObjectNode rewritten = ConfigRewriter.rewrite("c", config, bases);
      assertEquals(bases.stream().map(before::get).toList(), parse(rewritten).attention());
      assertEquals(5, rewritten.get("layer_types").size());
    }
  }

  @Test
  void layersOfUnlikeKindsAreNotMerged() {
    assertNotNull(parse(dense()).whyNoMerge());
    assertNull(parse(dense().put("full_attention_interval", 1)).whyNoMerge());
    assertNull(parse(dense()).whyNoFit());
    assertNotNull(parse(mixture()).whyNoFit());
  }

  /** What predicts tokens beyond the next one stays as it is, by its name. */
  @Test
  void predictionIsNoLayer() {
    ModelConfig config = parse(dense());
    String draft = "mtp.layers.0.mlp.up_proj.weight";
    assertTrue(config.architecture().isOfPrediction(draft, config));
    assertEquals(draft, config.architecture().nameBeside(draft, config, 5));
    String layer = "model.layers.7.mlp.up_proj.weight";
    assertFalse(config.architecture().isOfPrediction(layer, config));
  }

  /** transformers writes a tensor for each expert, Qwen one for all. */
  @Test
  void expertsAreNamedAsTheCheckpointHasThem() {
    String stacked = "model.layers.7.mlp.experts.gate_up_proj";
    ModelConfig apart = ModelConfig.parse("c", mixture(), name -> Optional.empty());
    ModelConfig together =
        ModelConfig.parse(
            "c",
            mixture(),
            name ->
                Optional.ofNullable(
                    Map.of(
                            "model.layers.0.mlp.experts.gate_up_proj", List.of(3L, 32L, 64L),
                            "model.layers.0.mlp.experts.down_proj", List.of(3L, 64L, 16L))
                        .get(name)));
    List<String> names = together.architecture().tensorNames(7, together);
    assertTrue(names.contains(stacked), names.toString());
    assertEquals(List.of(3L, 32L, 64L), TestConfigs.shape(together, 7, LayerRole.GATE));
    assertEquals(List.of(3L, 64L, 16L), TestConfigs.shape(together, 7, LayerRole.DOWN));
    names = apart.architecture().tensorNames(7, apart);
    assertTrue(names.contains("model.layers.7.mlp.experts.2.up_proj.weight"), names.toString());
    assertFalse(names.contains(stacked), names.toString());
    assertEquals(512, Objects.requireNonNull(apart.mixture()).sharedWidth());
  }
}
