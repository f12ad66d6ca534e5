package dev.laco.model;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.laco.BadInputException;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

final class HunYuanDenseTest {
  private static ObjectNode config() {
    ObjectNode config = JsonNodeFactory.instance.objectNode();
    config.putArray("architectures").add("HunYuanDenseV1ForCausalLM");
    config.put("model_type", "hunyuan_v1_dense").put("hidden_size", 64).put("vocab_size", 64);
    config.put("intermediate_size", 48).put("num_hidden_layers", 2).put("num_attention_heads", 4);
    config.put("head_dim", 128);
    config.putObject("rope_scaling").put("type", "dynamic").put("factor", 1.0).put("alpha", 1000.0);
    return config;
  }

  private static List<RopeParameters> rotations(ObjectNode config) {
    return ModelConfig.parse("c", config).rotations();
  }

  /** The base that llama.cpp's converter writes for the published models. */
  @Test
  void theFactorOfDynamicScalingStretchesTheBase() {
    RopeParameters rotation = rotations(config()).getFirst();
    assertEquals(11158839.925, rotation.theta(), 1e-2);
    assertEquals(new RopeParameters.Default(), rotation.scaling());
  }

  @Test
  void withoutItDynamicScalingGoesByTheLengthOfTheText() {
    ObjectNode config = config();
    config.putObject("rope_scaling").put("type", "dynamic").put("factor", 2.0);
    assertEquals(
        List.of(new RopeParameters(10_000, 1, new RopeParameters.Dynamic(2, 2048))),
        rotations(config));
  }

  @Test
  void aFactorBelowZeroIsRefused() {
    ObjectNode config = config();
    config.putObject("rope_scaling").put("type", "dynamic").put("factor", 1).put("alpha", -1);
    BadInputException refused =
        assertThrows(BadInputException.class, () -> ModelConfig.parse("c", config));
    assertTrue(refused.getMessage().contains("rope_scaling: alpha: "), refused.getMessage());
  }

  /** Layers that share keys and values, and biases that transformers does not compute. */
  @ParameterizedTest
  @ValueSource(strings = {"use_cla", "mlp_bias"})
  void whatIsNotComputedIsRefused(String key) {
    ObjectNode config = config().put(key, true);
    BadInputException refused =
        assertThrows(BadInputException.class, () -> ModelConfig.parse("c", config));
    assertTrue(refused.getMessage().contains(key), refused.getMessage());
  }
}
