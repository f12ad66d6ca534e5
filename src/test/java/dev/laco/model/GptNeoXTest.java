package dev.laco.model;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.ObjectMapper;
import java.util.List;
import org.junit.jupiter.api.Test;

class GptNeoXTest {
  @Test
  void aConfigOfPythiaSaysWhatALayerHas() throws Exception {
    ModelConfig config = pythia();
    assertEquals(
        List.of(
            "input_layernorm.weight [64]",
            "input_layernorm.bias [64]",
            "attention.query_key_value.weight [192, 64]",
            "attention.dense.weight [64, 64]",
            "attention.query_key_value.bias [192]",
            "attention.dense.bias [64]",
            "post_attention_layernorm.weight [64]",
            "post_attention_layernorm.bias [64]",
            "mlp.dense_h_to_4h.weight [256, 64]",
            "mlp.dense_4h_to_h.weight [64, 256]",
            "mlp.dense_h_to_4h.bias [256]",
            "mlp.dense_4h_to_h.bias [64]"),
        config.architecture().layerTensors(config, 0).stream()
            .map(tensor -> tensor.suffix() + " " + tensor.shape())
            .toList());
    assertEquals(
        List.of("gpt_neox.final_layer_norm.weight", "gpt_neox.final_layer_norm.bias"),
        config.architecture().finalNormTensors());
    assertTrue(config.parallel());
    assertEquals(Activation.GELU, config.hiddenAct());
    assertEquals(new RopeParameters(5000, 0.5, new RopeParameters.Default()), rotation(config));
  }

  @Test
  void masksThatOldCheckpointsHoldAreNoWeights() throws Exception {
    Architecture family = pythia().architecture();
    assertTrue(family.isBuffer("gpt_neox.layers.1.attention.bias"));
    assertTrue(family.isBuffer("gpt_neox.layers.0.attention.masked_bias"));
    assertTrue(family.isBuffer("gpt_neox.layers.0.attention.rotary_emb.inv_freq"));
    assertFalse(family.isBuffer("gpt_neox.layers.0.attention.dense.bias"));
    assertFalse(Llama.FAMILY.isBuffer("model.layers.0.attention.bias"));
  }

  private static RopeParameters rotation(ModelConfig config) {
    return config.rotations().getFirst();
  }

  private static ModelConfig pythia() throws Exception {
    return ModelConfig.parse(
        "config.json",
        new ObjectMapper()
            .readTree(
                """
                {"architectures": ["GPTNeoXForCausalLM"], "model_type": "gpt_neox",
                 "hidden_size": 64, "vocab_size": 96, "num_attention_heads": 4,
                 "num_hidden_layers": 2, "intermediate_size": 256, "hidden_act": "gelu",
                 "rotary_pct": 0.5, "rotary_emb_base": 5000, "use_parallel_residual": true}
                """));
  }
}
