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

class ArceeTest {
  @ParameterizedTest
  @CsvSource({"Arcee, arcee, false, 4096", "Jais2, jais2, true, 8192"})
  void aSparseConfigHasTheDefaultsOfTheClass(
      String className, String modelType, boolean biases, int positions) throws Exception {
    ModelConfig config = parse(className, modelType, "");
    assertEquals(Activation.RELU_SQUARED, config.hiddenAct());
    assertEquals(new NormSpec(1e-5, 0), config.norm());
    assertEquals(positions, config.maxPositionEmbeddings());
    assertEquals(biases, config.hasLayerNorms());
    assertEquals(
        List.of(biases, biases, biases),
        List.of(config.queryKeyValueBias(), config.outputBias(), config.mlpBias()));
    List<String> matrices = List.of("mlp.up_proj.weight", "mlp.down_proj.weight");
    assertEquals(
        biases
            ? List.of(matrices.get(0), matrices.get(1), "mlp.up_proj.bias", "mlp.down_proj.bias")
            : matrices,
        config.architecture().layerTensors(config, 0).stream()
            .map(TensorSpec::suffix)
            .filter(suffix -> suffix.startsWith("mlp."))
            .toList());
  }

  @Test
  void biasesOfAttentionAndOfTheNetworkHaveAKeyEach() throws Exception {
    ModelConfig config = parse("Jais2", "jais2", ", \"mlp_bias\": false");
    assertTrue(config.outputBias());
    assertEquals(false, config.mlpBias());
  }

  @Test
  void anActivationThatIsNotComputedIsRefusedByName() {
    BadInputException refused =
        assertThrows(
            BadInputException.class, () -> parse("Arcee", "arcee", ", \"hidden_act\": \"mish\""));
    assertTrue(refused.getMessage().contains("hidden_act"), refused.getMessage());
    assertTrue(refused.getMessage().contains("relu, relu2"), refused.getMessage());
  }

  private static ModelConfig parse(String className, String modelType, String more)
      throws Exception {
    return ModelConfig.parse(
        "config.json",
        new ObjectMapper()
            .readTree(
                """
                {"architectures": ["CLASSForCausalLM"], "model_type": "TYPE",
                 "hidden_size": 64, "vocab_size": 96, "num_attention_heads": 4,
                 "num_hidden_layers": 2, "intermediate_size": 160MORE}
                """
                    .replace("CLASS", className)
                    .replace("TYPE", modelType)
                    .replace("MORE", more)));
  }
}
