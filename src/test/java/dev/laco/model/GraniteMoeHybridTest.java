package dev.laco.model;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.List;
import org.junit.jupiter.api.Test;

/** Which configs of Granite 4 are computed, and what they say. */
class GraniteMoeHybridTest {
  /** As transformers before 5.24 and the published models name the kinds of layers. */
  private static ObjectNode config() {
    ObjectNode config =
        TestConfigs.of("GraniteMoeHybridForCausalLM", "granitemoehybrid", 64, 3)
            .put("num_local_experts", 0)
            .put("position_embedding_type", "rope")
            .put("attention_multiplier", 0.015625);
    config.putArray("layer_types").add("attention").add("attention").add("attention");
    return config;
  }

  private static ModelConfig parse(ObjectNode config) {
    return ModelConfig.parse("c", config);
  }

  @Test
  void gateAndUpProjectionsAreOneMatrix() {
    ModelConfig config = parse(config().put("shared_intermediate_size", 40));
    Architecture family = config.architecture();
    TensorSpec gateUp = family.layerTensor(config, 2, LayerRole.UP);
    assertEquals(gateUp, family.layerTensor(config, 2, LayerRole.GATE));
    assertEquals(List.of(80L, 64L), gateUp.shape());
    List<String> names = family.tensorNames(2, config);
    assertTrue(names.contains("model.layers.2.shared_mlp.input_linear.weight"), names.toString());
    assertTrue(names.contains("model.layers.2.shared_mlp.output_linear.weight"), names.toString());
    assertEquals(0.015625, config.attentionScores().scale());
    assertEquals(1024, parse(config()).intermediateSize());
  }

  @Test
  void onlyModelsWhosePositionsAreRotatedRotate() {
    assertNotNull(parse(config()).attention().getFirst().rotation());
    assertNull(
        parse(config().putNull("position_embedding_type")).attention().getFirst().rotation());
    assertNull(
        parse(config().put("position_embedding_type", "nope")).attention().getFirst().rotation());
  }

  @Test
  void mambaAndExpertsAreRefused() {
    ObjectNode mamba = config();
    ((ArrayNode) mamba.get("layer_types")).set(1, "mamba");
    TestConfigs.assertRefused(mamba, "layer_types");
    ((ArrayNode) mamba.get("layer_types")).set(1, "linear_attention");
    TestConfigs.assertRefused(mamba, "layer_types");
    ObjectNode unlisted = config();
    unlisted.remove("layer_types");
    TestConfigs.assertRefused(unlisted, "layer_types");
    TestConfigs.assertRefused(config().put("num_local_experts", 4), "num_local_experts");
    ObjectNode byDefault = config();
    byDefault.remove("num_local_experts");
    TestConfigs.assertRefused(byDefault, "num_local_experts");
  }

  /** The new spelling of transformers is kept, as the old one is. */
  @Test
  void theKindsOfLayersKeepTheirSpelling() {
    ObjectNode config = config();
    assertEquals(
        "attention",
        ConfigRewriter.rewrite("c", config, List.of(0, 2)).get("layer_types").get(1).asText());
    ((ArrayNode) config.get("layer_types")).set(2, "full_attention");
    ObjectNode shallower = ConfigRewriter.rewrite("c", config, List.of(0, 2));
    assertEquals("[\"attention\",\"full_attention\"]", shallower.get("layer_types").toString());
    assertEquals(2, parse(shallower).numHiddenLayers());
  }
}
