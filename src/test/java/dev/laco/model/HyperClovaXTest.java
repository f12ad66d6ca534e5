package dev.laco.model;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;

import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.List;
import org.junit.jupiter.api.Test;

final class HyperClovaXTest {
  private static ObjectNode config() {
    ObjectNode config = JsonNodeFactory.instance.objectNode();
    config.putArray("architectures").add("HyperCLOVAXForCausalLM");
    config.put("model_type", "hyperclovax").put("hidden_size", 64).put("intermediate_size", 48);
    config.put("num_hidden_layers", 2).put("num_attention_heads", 4).put("vocab_size", 64);
    return config;
  }

  private static List<String> norms(ModelConfig config) {
    return config.architecture().layerTensors(config, 0).stream()
        .map(TensorSpec::suffix)
        .filter(suffix -> suffix.contains("norm"))
        .toList();
  }

  @Test
  void normsAreBehindUnlessTheConfigSaysOtherwise() {
    ModelConfig behind = ModelConfig.parse("c", config());
    assertEquals(
        List.of(
            "input_layernorm.weight",
            "post_norm1.weight",
            "post_attention_layernorm.weight",
            "post_norm2.weight"),
        norms(behind));
    assertNotNull(behind.whyNoFit());
    ModelConfig before = ModelConfig.parse("c", config().put("use_post_norm", false));
    assertEquals(
        List.of("input_layernorm.weight", "post_attention_layernorm.weight"), norms(before));
    assertNull(before.whyNoFit());
  }

  /** Granite divides logits, and multiplies scores by 1 where its config has no factor. */
  @Test
  void theFactorOfLogitsMultiplies() {
    ModelConfig read = ModelConfig.parse("c", config().put("logits_scaling", 0.125));
    assertEquals(0.125, read.logits().scale());
    assertEquals(0.25, read.attentionScores().scale());
  }

  /** Norms of the stream take it divided by the factor of what layers add; those behind do not. */
  @Test
  void normsBehindTakeWhatIsNotDivided() {
    ObjectNode config = config().put("residual_multiplier", 0.5).put("rms_norm_eps", 1e-2);
    ModelConfig read = ModelConfig.parse("c", config);
    assertEquals(4e-2, read.norm().eps(), 1e-12);
    assertEquals(1e-2, read.innerNorm().eps());
  }
}
