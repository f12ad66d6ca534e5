package dev.laco.model;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTimeoutPreemptively;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.ObjectMapper;
import dev.laco.BadInputException;
import java.time.Duration;
import java.util.List;
import java.util.Locale;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class GraniteMoeTest {
  private static ModelConfig config(int experts) throws Exception {
    String json =
        String.format(
            Locale.ROOT,
            """
            {"architectures": ["GraniteMoeForCausalLM"], "hidden_size": 64, "vocab_size": 256,
             "num_attention_heads": 4, "num_hidden_layers": 3, "intermediate_size": 40,
             "num_experts_per_tok": 1, "num_local_experts": %d}
            """,
            experts);
    return ModelConfig.parse("config.json", new ObjectMapper().readTree(json));
  }

  /** The rows of an expert, in tensors of three extents whatever their number. */
  @ParameterizedTest
  @ValueSource(ints = {1, 5, 21_845})
  void oneTensorHasTheRowsOfAllExperts(int experts) throws Exception {
    ModelConfig config = config(experts);
    List<TensorSpec> tensors =
        assertTimeoutPreemptively(
            Duration.ofSeconds(20), () -> config.architecture().layerTensors(config, 0));
    TensorSpec gateUp = tensors.stream().filter(s -> s.has(LayerRole.UP)).findFirst().orElseThrow();
    TensorSpec down = tensors.stream().filter(s -> s.has(LayerRole.DOWN)).findFirst().orElseThrow();
    assertEquals(List.of((long) experts, 80L, 64L), gateUp.shape());
    assertEquals(List.of((long) experts, 64L, 40L), down.shape());
    long last = experts - 1;
    assertEquals(
        new TensorSpec.Part(
            new LayerPart(LayerRole.UP, experts - 1), last * 80 + 40, last * 80 + 80),
        gateUp.parts().getLast());
    assertEquals(
        new TensorSpec.Part(new LayerPart(LayerRole.DOWN, experts - 1), last * 64, last * 64 + 64),
        down.parts().getLast());
  }

  @Test
  void moreExpertsThanAnyModelHasAreRefused() {
    BadInputException refused = assertThrows(BadInputException.class, () -> config(21_846));
    assertTrue(
        refused.getMessage().contains("num_local_experts")
            && refused.getMessage().contains("at most 21845 in each of 3 layers"),
        refused::getMessage);
  }
}
