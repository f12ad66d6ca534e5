package dev.laco.model;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.ObjectMapper;
import dev.laco.BadInputException;
import java.util.List;
import org.junit.jupiter.api.Test;

class StableLmTest {
  @Test
  void aParallelLayerHasOneNorm() throws Exception {
    assertTrue(suffixes(parse("false")).contains("post_attention_layernorm.bias"));
    List<String> parallel = suffixes(parse("true"));
    assertTrue(parallel.contains("input_layernorm.bias"));
    assertFalse(parallel.toString().contains("post_attention_layernorm"));
  }

  @Test
  void aQuarterOfAHeadIsRotated() throws Exception {
    assertEquals(0.25, parse("false").rotations().getFirst().share());
  }

  @Test
  void normsOfHeadsAreRefusedByName() {
    BadInputException refused =
        assertThrows(BadInputException.class, () -> parse("false, \"qk_layernorm\": true"));
    assertTrue(refused.getMessage().contains("qk_layernorm"), refused.getMessage());
  }

  private static List<String> suffixes(ModelConfig config) {
    return config.architecture().layerTensors(config, 0).stream().map(TensorSpec::suffix).toList();
  }

  private static ModelConfig parse(String parallel) throws Exception {
    return ModelConfig.parse(
        "config.json",
        new ObjectMapper()
            .readTree(
                """
                {"architectures": ["StableLmForCausalLM"], "model_type": "stablelm",
                 "hidden_size": 64, "vocab_size": 96, "num_attention_heads": 4,
                 "num_hidden_layers": 2, "intermediate_size": 160,
                 "use_parallel_residual": %s}
                """
                    .replace("%s", parallel)));
  }
}
