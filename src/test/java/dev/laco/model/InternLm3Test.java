package dev.laco.model;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.laco.BadInputException;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

final class InternLm3Test {
  private static ObjectNode config() {
    ObjectNode config = JsonNodeFactory.instance.objectNode();
    config.putArray("architectures").add("InternLM3ForCausalLM");
    config.put("model_type", "internlm3").put("hidden_size", 64).put("intermediate_size", 48);
    config.put("num_hidden_layers", 2).put("num_attention_heads", 4).put("vocab_size", 64);
    return config.put("bias", false).put("qkv_bias", false);
  }

  @Test
  void aConfigOfTheFirstCheckpointsIsRead() {
    ObjectNode config = config();
    config.putObject("rope_scaling").put("rope_type", "dynamic").put("factor", 6.0);
    ModelConfig read = ModelConfig.parse("c", config);
    assertEquals(new RopeParameters.Dynamic(6, 32768), read.rotations().getFirst().scaling());
    assertEquals(128, read.headDim());
  }

  @ParameterizedTest
  @ValueSource(strings = {"bias", "qkv_bias"})
  void biasesByTheFirstKeysAreRefused(String key) {
    ObjectNode config = config().put(key, true);
    BadInputException refused =
        assertThrows(BadInputException.class, () -> ModelConfig.parse("c", config));
    assertTrue(refused.getMessage().contains(key + ": "), refused.getMessage());
  }
}
