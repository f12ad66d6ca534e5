package dev.laco.model;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.laco.BadInputException;
import java.util.List;
import org.junit.jupiter.api.Test;

final class CwmTest {
  private static ObjectNode config() {
    ObjectNode config = JsonNodeFactory.instance.objectNode();
    config.putArray("architectures").add("CwmForCausalLM");
    config.put("model_type", "cwm").put("hidden_size", 64).put("intermediate_size", 48);
    config.put("num_hidden_layers", 6).put("num_attention_heads", 16).put("vocab_size", 64);
    return config;
  }

  /** What {@code CwmConfig} of transformers takes where a config has no such keys. */
  @Test
  void keysThatAreLeftOutHaveTheDefaultsOfTransformers() {
    ModelConfig config = ModelConfig.parse("c", config());
    assertEquals(
        List.of(0, 8192, 8192, 8192, 0, 8192),
        config.attention().stream().map(LayerAttention::window).toList());
    assertEquals(
        List.of(new RopeParameters(1e6, 1, new RopeParameters.Llama3(16, 1, 4, 8192))),
        config.rotations());
    assertEquals(8, config.numKeyValueHeads());
    assertEquals(128, config.headDim());
  }

  @Test
  void nullIsNotTheDefault() {
    ObjectNode config = config();
    config.putNull("head_dim").putNull("num_key_value_heads");
    ModelConfig read = ModelConfig.parse("c", config);
    assertEquals(4, read.headDim());
    assertEquals(16, read.numKeyValueHeads());
  }

  /** transformers computes no such biases, whatever the config says. */
  @Test
  void biasesOfAttentionAreRefused() {
    BadInputException refused =
        assertThrows(
            BadInputException.class,
            () -> ModelConfig.parse("c", config().put("attention_bias", true)));
    assertTrue(refused.getMessage().contains("attention_bias"), refused.getMessage());
  }
}
