package dev.laco.model;

import static org.junit.jupiter.api.Assertions.assertEquals;

import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import org.junit.jupiter.api.Test;

final class MistralTest {
  private static ObjectNode config() {
    ObjectNode config = JsonNodeFactory.instance.objectNode();
    config.putArray("architectures").add("MistralForCausalLM");
    config.put("model_type", "mistral").put("hidden_size", 32).put("intermediate_size", 48);
    config.put("num_hidden_layers", 1).put("num_attention_heads", 4).put("vocab_size", 64);
    return config;
  }

  private static int window(ObjectNode config) {
    return ModelConfig.parse("c", config).attention().getFirst().window();
  }

  /** transformers takes the window of Mistral 7B where a config has none, and none for null. */
  @Test
  void aConfigWithoutAWindowHasThatOfItsClass() {
    assertEquals(4096, window(config()));
    assertEquals(16, window(config().put("sliding_window", 16)));
    assertEquals(0, window(config().putNull("sliding_window")));
  }
}
