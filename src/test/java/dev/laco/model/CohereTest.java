package dev.laco.model;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.List;
import java.util.Locale;
import org.junit.jupiter.api.Test;

class CohereTest {
  @Test
  void aLayerHasOneNormAndHeadsMayHaveWeightsOfTheirOwn() throws Exception {
    ModelConfig config = parse(json("Cohere", "cohere", "\"use_qk_norm\": true"));
    List<TensorSpec> tensors = config.architecture().layerTensors(config, 0);
    assertEquals(
        List.of(
            "input_layernorm.weight",
            "self_attn.q_proj.weight",
            "self_attn.k_proj.weight",
            "self_attn.v_proj.weight",
            "self_attn.o_proj.weight",
            "self_attn.q_norm.weight",
            "self_attn.k_norm.weight",
            "mlp.gate_proj.weight",
            "mlp.up_proj.weight",
            "mlp.down_proj.weight"),
        tensors.stream().map(TensorSpec::suffix).toList());
    assertEquals(List.of(4L, 16L), tensors.get(5).shape());
    assertEquals(List.of(2L, 16L), tensors.get(6).shape());
    assertEquals(TensorGroup.NORMS, tensors.get(5).group());
    assertNull(config.whyNoFit());
    assertNull(config.whyNoMerge());
  }

  @Test
  void onlyLayersWithAWindowRotateAndKeepTheirTypesInAShallowerModel() throws Exception {
    ObjectNode json = json("Cohere2", "cohere2", "\"sliding_window\": 8");
    List<LayerAttention> attention = parse(json).attention();
    for (int layer = 0; layer < 8; layer++) {
      boolean full = layer % 4 == 3;
      assertEquals(full ? 0 : 8, attention.get(layer).window());
      assertEquals(full, attention.get(layer).rotation() == null);
    }
    List<Integer> kept = List.of(0, 3, 4, 7);
    assertEquals(
        kept.stream().map(attention::get).toList(),
        parse(ConfigRewriter.rewrite("config.json", json, kept)).attention());
  }

  private static ObjectNode json(String name, String type, String more) throws Exception {
    return (ObjectNode)
        new ObjectMapper()
            .readTree(
                String.format(
                    Locale.ROOT,
                    """
                {"architectures": ["%sForCausalLM"], "model_type": "%s", "hidden_size": 64,
                 "vocab_size": 96, "num_attention_heads": 4, "num_key_value_heads": 2,
                 "num_hidden_layers": 8, "intermediate_size": 160, %s}
                """,
                    name,
                    type,
                    more));
  }

  private static ModelConfig parse(ObjectNode json) {
    return ModelConfig.parse("config.json", json);
  }
}
