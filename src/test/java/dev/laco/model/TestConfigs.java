package dev.laco.model;

import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.laco.BadInputException;
import java.util.List;

/** Configs of small models, of the file "c". */
final class TestConfigs {
  private TestConfigs() {}

  /** A config with the sizes that all families have. */
  static ObjectNode of(String className, String modelType, int hidden, int layers) {
    ObjectNode config = JsonNodeFactory.instance.objectNode();
    config.putArray("architectures").add(className);
    config.put("model_type", modelType).put("hidden_size", hidden).put("intermediate_size", 48);
    config.put("num_hidden_layers", layers).put("num_attention_heads", 4).put("vocab_size", 64);
    return config;
  }

  /** Asserts that a config is refused by an error that begins with the file and the key. */
  static void assertRefused(ObjectNode config, String key) {
    BadInputException refused =
        assertThrows(BadInputException.class, () -> ModelConfig.parse("c", config));
    assertTrue(refused.getMessage().startsWith("c: " + key), refused.getMessage());
  }

  /** The extents of the tensor of a layer that has a role. */
  static List<Long> shape(ModelConfig config, int layer, LayerRole role) {
    return config.architecture().layerTensor(config, layer, role).shape();
  }
}
