package dev.laco.model;

import static org.junit.jupiter.api.Assertions.assertEquals;

import com.fasterxml.jackson.databind.ObjectMapper;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;

class NemotronTest {
  private static final String SIZES =
      """
      "hidden_size": 64, "vocab_size": 96, "num_attention_heads": 4, "num_hidden_layers": 2,
      "intermediate_size": 160
      """;

  @Test
  void aSparseConfigHasTheDefaultsOfTheClass() throws Exception {
    ModelConfig config = parse("");
    assertEquals(Activation.RELU_SQUARED, config.hiddenAct());
    assertEquals(new NormSpec(1e-5, 1), config.norm());
    assertEquals(0.5, config.rotations().getFirst().share());
    assertEquals(4096, config.maxPositionEmbeddings());
    assertEquals(
        List.of(
            "input_layernorm.weight",
            "input_layernorm.bias",
            "self_attn.q_proj.weight",
            "self_attn.k_proj.weight",
            "self_attn.v_proj.weight",
            "self_attn.o_proj.weight",
            "post_attention_layernorm.weight",
            "post_attention_layernorm.bias",
            "mlp.up_proj.weight",
            "mlp.down_proj.weight"),
        suffixes(config).toList());
  }

  @Test
  void theShareOfAHeadThatIsRotatedStandsInEitherPlace() throws Exception {
    assertEquals(0.25, parse(", \"partial_rotary_factor\": 0.25").rotations().getFirst().share());
    String nested =
        """
        , "rope_parameters": {"rope_type": "default", "rope_theta": 5000.0, "partial_rotary_factor": 0.75}
        """;
    assertEquals(0.75, parse(nested).rotations().getFirst().share());
    String without = ", \"rope_parameters\": {\"rope_type\": \"default\", \"rope_theta\": 5000.0}";
    assertEquals(
        new RopeParameters(5000, 0.5, new RopeParameters.Default()),
        parse(without).rotations().getFirst());
  }

  @Test
  void ggufFilesHaveTheWeightsOfNormsPlusOne() throws Exception {
    ModelConfig config = parse("");
    assertEquals(
        List.of("blk.0.attn_norm.weight PLUS_ONE", "blk.0.attn_norm.bias SAME"),
        GgufNames.layer(config, 0).stream()
            .limit(2)
            .map(weight -> weight.name() + " " + weight.values())
            .toList());
    assertEquals(
        List.of("output_norm.weight PLUS_ONE", "output_norm.bias SAME"),
        GgufNames.outside(config).stream()
            .filter(weight -> weight.name().startsWith("output_norm"))
            .map(weight -> weight.name() + " " + weight.values())
            .toList());
  }

  private static Stream<String> suffixes(ModelConfig config) {
    return config.architecture().layerTensors(config, 0).stream().map(TensorSpec::suffix);
  }

  private static ModelConfig parse(String more) throws Exception {
    return ModelConfig.parse(
        "config.json",
        new ObjectMapper()
            .readTree(
                """
                {"architectures": ["NemotronForCausalLM"], "model_type": "nemotron", %s}
                """
                    .replace("%s", SIZES + more)));
  }
}
