package dev.laco.model;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.ObjectMapper;
import dev.laco.BadInputException;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class FalconTest {
  /** The configs of the models of 7, 40 and 11 billion parameters, and of the first ones. */
  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "\"multi_query\": true | 1 | input_layernorm",
        "\"new_decoder_architecture\": true, \"num_kv_heads\": 2 | 2 | ln_attn ln_mlp",
        "\"new_decoder_architecture\": true, \"num_ln_in_parallel_attn\": 1 | 4 | input_layernorm",
        "\"multi_query\": false, \"parallel_attn\": false"
            + " | 4 | input_layernorm post_attention_layernorm"
      })
  void aConfigTellsHeadsAndNorms(String keys, int keyValueHeads, String norms) throws Exception {
    ModelConfig config = parse(keys);
    assertEquals(keyValueHeads, config.numKeyValueHeads());
    assertEquals(256, config.intermediateSize());
    assertEquals(!norms.contains("post"), config.parallel());
    assertEquals(
        List.of(norms.split(" ")),
        config.architecture().layerTensors(config, 0).stream()
            .map(TensorSpec::suffix)
            .filter(suffix -> suffix.matches("(ln_|\\w+_layernorm).*weight"))
            .map(suffix -> suffix.replace(".weight", ""))
            .toList());
  }

  @Test
  void alibiIsRefusedByName() {
    BadInputException refused =
        assertThrows(BadInputException.class, () -> parse("\"alibi\": true"));
    assertTrue(refused.getMessage().contains("alibi"), refused.getMessage());
  }

  private static ModelConfig parse(String keys) throws Exception {
    return ModelConfig.parse(
        "config.json",
        new ObjectMapper()
            .readTree(
                """
                {"architectures": ["FalconForCausalLM"], "model_type": "falcon",
                 "hidden_size": 64, "vocab_size": 96, "num_attention_heads": 4,
                 "num_hidden_layers": 2, %s}
                """
                    .replace("%s", keys)));
  }
}
