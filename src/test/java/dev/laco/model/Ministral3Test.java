package dev.laco.model;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.laco.BadInputException;
import org.junit.jupiter.api.Test;

final class Ministral3Test {
  private static ObjectNode config() {
    ObjectNode config = JsonNodeFactory.instance.objectNode();
    config.putArray("architectures").add("Ministral3ForCausalLM");
    config.put("model_type", "ministral3").put("hidden_size", 32).put("intermediate_size", 48);
    config.put("num_hidden_layers", 2).put("num_attention_heads", 4).put("vocab_size", 64);
    config
        .putObject("rope_parameters")
        .put("rope_type", "yarn")
        .put("rope_theta", 1e6)
        .put("factor", 16)
        .put("original_max_position_embeddings", 16384)
        .put("llama_4_scaling_beta", 0.1);
    return config;
  }

  @Test
  void queriesRotateAsKeysAndAreLonger() {
    ModelConfig config = ModelConfig.parse("c", config());
    RopeParameters queries = config.rotations().getFirst();
    assertEquals(new RopeParameters.QueryScale(0.1, 16384), queries.queries());
    assertEquals(queries.ofKeys(), config.rotations().get(1));
    assertEquals(2, config.rotations().size());
  }

  /** The default of transformers is a YaRN of numbers that other releases may change. */
  @Test
  void aConfigSaysHowItRotates() {
    ObjectNode config = config();
    config.remove("rope_parameters");
    BadInputException refused =
        assertThrows(BadInputException.class, () -> ModelConfig.parse("c", config));
    assertTrue(refused.getMessage().contains("rope_parameters"), refused.getMessage());
  }
}
