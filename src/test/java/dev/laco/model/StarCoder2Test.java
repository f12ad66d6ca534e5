package dev.laco.model;

import static org.junit.jupiter.api.Assertions.assertEquals;

import com.fasterxml.jackson.databind.ObjectMapper;
import java.util.List;
import org.junit.jupiter.api.Test;

class StarCoder2Test {
  @Test
  void aFeedForwardNetworkHasTwoMatricesAndTwoBiases() throws Exception {
    ModelConfig config =
        ModelConfig.parse(
            "config.json",
            new ObjectMapper()
                .readTree(
                    """
                    {"architectures": ["Starcoder2ForCausalLM"], "model_type": "starcoder2",
                     "hidden_size": 64, "vocab_size": 96, "num_attention_heads": 4,
                     "num_key_value_heads": 2, "num_hidden_layers": 2, "intermediate_size": 256,
                     "sliding_window": 16}
                    """));
    assertEquals(
        List.of("mlp.c_fc.weight", "mlp.c_proj.weight", "mlp.c_fc.bias", "mlp.c_proj.bias"),
        config.architecture().layerTensors(config, 0).stream()
            .map(TensorSpec::suffix)
            .filter(suffix -> suffix.startsWith("mlp."))
            .toList());
    assertEquals(Activation.GELU_TANH, config.hiddenAct());
    assertEquals(16, config.attention().getLast().window());
  }
}
