package dev.laco.model;

import static org.junit.jupiter.api.Assertions.assertEquals;

import com.fasterxml.jackson.databind.ObjectMapper;
import java.util.Locale;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class BaichuanTest {
  /** The keys by which the configs of the published models differ. */
  @ParameterizedTest
  @CsvSource({
    "BaiChuanForCausalLM, 64000, max_position_embeddings, false, false",
    "BaichuanForCausalLM, 64000, model_max_length, true, false",
    "BaichuanForCausalLM, 125696, max_position_embeddings, false, true",
    "BaichuanForCausalLM, 125696, model_max_length, true, true"
  })
  void aConfigTellsPositionsAndHeadOfTheModel(
      String className, int vocabulary, String lengthKey, boolean alibi, boolean unitHead)
      throws Exception {
    String json =
        String.format(
            Locale.ROOT,
            """
        {"architectures": ["%s"], "model_type": "baichuan", "hidden_size": 64, "vocab_size": %d,
         "num_attention_heads": 4, "num_hidden_layers": 3, "intermediate_size": 160, "%s": 512}
        """,
            className,
            vocabulary,
            lengthKey);
    ModelConfig config = ModelConfig.parse("config.json", new ObjectMapper().readTree(json));
    assertEquals(alibi, config.alibi());
    assertEquals(alibi, config.rotations().isEmpty());
    assertEquals(unitHead, config.unitHead());
    assertEquals(512, config.maxPositionEmbeddings());
  }
}
