package dev.laco.model;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.List;
import java.util.Objects;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** What configs of LFM2 say of layers with a convolution in the place of attention. */
final class ShortConvolutionTest {
  /** Layers 2 and 5 have attention. */
  private static ObjectNode config() {
    ObjectNode config = TestConfigs.of("Lfm2ForCausalLM", "lfm2", 64, 8);
    config.put("num_key_value_heads", 2);
    config.putArray("full_attn_idxs").add(2).add(5);
    return config;
  }

  private static ModelConfig parse(ObjectNode config) {
    return ModelConfig.parse("c", config);
  }

  private static List<Integer> withAttention(ModelConfig config) {
    return IntStream.range(0, config.numHiddenLayers())
        .filter(layer -> config.attention().get(layer).hasSoftmax())
        .boxed()
        .toList();
  }

  @Test
  void sparseConfigsHaveTheSizesOfTheirClass() {
    ModelConfig config = parse(config());
    assertEquals(new ShortConvolution(64, 3), config.convolution());
    assertEquals(List.of(2, 5), withAttention(config));
    assertTrue(config.tieWordEmbeddings());
    assertEquals(1e-5, config.rmsNormEps());
    assertNull(config.attention().get(0).rotation());
    RopeParameters rotation = config.attention().get(2).rotation();
    assertNotNull(rotation);
    assertEquals(1e6, rotation.theta());
    ObjectNode unlisted = config();
    unlisted.remove("full_attn_idxs");
    assertEquals(8, withAttention(parse(unlisted)).size());
  }

  @Test
  void layersHaveTheTensorsOfTheirKind() {
    ModelConfig config = parse(config());
    assertEquals(
        List.of(192L, 64L),
        TestConfigs.shape(config, 0, LayerRole.CONVOLUTION_INPUT),
        "one tensor");
    assertEquals(List.of(64L, 1L, 3L), TestConfigs.shape(config, 0, LayerRole.CONVOLUTION));
    assertEquals(List.of(64L, 64L), TestConfigs.shape(config, 0, LayerRole.OUTPUT));
    List<String> first = config.architecture().tensorNames(0, config);
    assertTrue(first.contains("model.layers.0.conv.out_proj.weight"), first.toString());
    assertFalse(first.toString().contains("self_attn"), first.toString());
    List<String> third = config.architecture().tensorNames(2, config);
    assertTrue(third.contains("model.layers.2.self_attn.out_proj.weight"), third.toString());
    assertFalse(third.toString().contains("conv"), third.toString());
    assertEquals("model.embedding_norm.weight", config.architecture().finalNorm());
  }

  @ParameterizedTest
  @CsvSource({
    "12288, true, 1, 256, 8192",
    "6656, true, 1, 256, 4608",
    "1000, true, 1, 256, 768",
    "1000, true, 1.3, 8, 872",
    "1000, false, 1.3, 8, 1000"
  })
  void twoThirdsOfTheWidthAreRoundedUp(
      int width, boolean rounds, double factor, int step, int channels) {
    ObjectNode config = config();
    config.put("block_auto_adjust_ff_dim", rounds);
    config.put("block_ffn_dim_multiplier", factor).put("block_multiple_of", step);
    assertEquals(channels, parse(config.put("intermediate_size", width)).intermediateSize());
    config.put("intermediate_size", 7);
    assertEquals(channels, parse(config.put("block_ff_dim", width)).intermediateSize());
  }

  /** A shallower config names the layers with attention as the original's does, or each layer. */
  @Test
  void layersKeepTheirKindsInAShallowerConfig() {
    List<Integer> bases = List.of(0, 2, 3, 6, 7);
    ObjectNode indices = ConfigRewriter.rewrite("c", config(), bases);
    assertEquals(List.of(1), withAttention(parse(indices)));
    assertEquals("[1]", indices.get("full_attn_idxs").toString());
    assertFalse(indices.has("layer_types"));
    ObjectNode config = config();
    ArrayNode types = config.putArray("layer_types");
    IntStream.range(0, 8).forEach(layer -> types.add(layer < 3 ? "full_attention" : "conv"));
    ObjectNode named = ConfigRewriter.rewrite("c", config, bases);
    assertEquals(List.of(0, 1), withAttention(parse(named)));
    assertEquals(5, named.get("layer_types").size());
  }

  @Test
  void layersOfUnlikeKindsAreNotMerged() {
    assertNotNull(parse(config()).whyNoMerge());
    ObjectNode alike = config();
    alike.remove("full_attn_idxs");
    assertNull(parse(alike).whyNoMerge());
    assertNull(parse(config()).whyNoFit());
    assertNull(parse(config()).whyOnlyDown());
  }

  @Test
  void transformersNeedsALayerWithAttention() {
    ModelConfig config = parse(config());
    assertNull(config.architecture().whyNot(Loader.TRANSFORMERS, config));
    ObjectNode none = config();
    none.putArray("full_attn_idxs");
    ModelConfig convolutions = parse(none);
    assertNotNull(convolutions.architecture().whyNot(Loader.TRANSFORMERS, convolutions));
  }

  @Test
  void whatIsNotComputedIsRefused() {
    TestConfigs.assertRefused(config().put("conv_bias", true), "conv_bias");
    TestConfigs.assertRefused(config().put("conv_L_cache", 0), "conv_L_cache");
    TestConfigs.assertRefused(config().put("tie_embedding", false), "tie_embedding");
    TestConfigs.assertRefused(config().put("block_multiple_of", 0), "block_multiple_of");
    ObjectNode sliding = config();
    ArrayNode types = sliding.putArray("layer_types");
    IntStream.range(0, 8).forEach(layer -> types.add(layer == 4 ? "sliding_attention" : "conv"));
    TestConfigs.assertRefused(sliding, "layer_types");
  }

  private static ObjectNode mixture() {
    ObjectNode config = TestConfigs.of("Lfm2MoeForCausalLM", "lfm2_moe", 64, 8);
    config.put("num_key_value_heads", 2).put("moe_intermediate_size", 16);
    config.put("num_experts", 4).put("num_experts_per_tok", 2);
    ArrayNode types = config.putArray("layer_types");
    IntStream.range(0, 8).forEach(layer -> types.add(layer % 3 == 2 ? "full_attention" : "conv"));
    return config;
  }

  @Test
  void mixturesStandBehindTheFirstLayers() {
    ModelConfig config = parse(mixture());
    assertEquals(config.intermediateSize(), mixture().get("intermediate_size").intValue());
    Mixture experts = Objects.requireNonNull(config.mixture());
    assertEquals(List.of(false, false, true, true, true, true, true, true), experts.layers());
    assertEquals(new RouterSpec(RouterSpec.Scores.SIGMOID, true, 1, 1e-6, null), experts.router());
    List<String> third = config.architecture().tensorNames(2, config);
    assertTrue(third.contains("model.layers.2.feed_forward.expert_bias"), third.toString());
    assertTrue(third.contains("model.layers.2.feed_forward.experts.3.w2.weight"), third.toString());
    ObjectNode rewritten = ConfigRewriter.rewrite("c", mixture(), List.of(0, 2, 3, 5));
    assertEquals(1, rewritten.get("num_dense_layers").intValue());
    assertEquals(List.of(1, 3), withAttention(parse(rewritten)));
    TestConfigs.assertRefused(mixture().put("use_expert_bias", false), "use_expert_bias");
    TestConfigs.assertRefused(mixture().put("routed_scaling_factor", 0), "routed_scaling_factor");
  }
}
