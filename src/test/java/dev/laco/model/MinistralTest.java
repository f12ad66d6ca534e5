package dev.laco.model;

import static org.junit.jupiter.api.Assertions.assertEquals;

import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.List;
import org.junit.jupiter.api.Test;

final class MinistralTest {
  private static ObjectNode config() {
    ObjectNode config = JsonNodeFactory.instance.objectNode();
    config.putArray("architectures").add("MinistralForCausalLM");
    config.put("model_type", "ministral").put("hidden_size", 64).put("intermediate_size", 48);
    config.put("num_hidden_layers", 2).put("num_attention_heads", 8).put("vocab_size", 64);
    return config;
  }

  private static List<Integer> windows(ObjectNode config) {
    return ModelConfig.parse("c", config).attention().stream().map(LayerAttention::window).toList();
  }

  @Test
  void layersHaveTheWindowThatTheirTypesSay() {
    assertEquals(List.of(4096, 4096), windows(config()));
    ObjectNode none = config();
    none.putNull("sliding_window");
    assertEquals(List.of(0, 0), windows(none));
    ObjectNode typed = config().put("sliding_window", 16);
    typed.putArray("layer_types").add("full_attention").add("sliding_attention");
    assertEquals(List.of(0, 16), windows(typed));
  }
}
