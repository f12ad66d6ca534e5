package dev.laco.model;

import com.fasterxml.jackson.databind.JsonNode;
import java.util.Map;

/**
 * Granite 4 (IBM 2025) where every layer has attention and one feed-forward network, as in Granite
 * 4.0 Micro. Its gate and up projections are one matrix.
 */
final class GraniteMoeHybrid {
  private static final String GATE_UP = "shared_mlp.input_linear.weight";
  private static final String EXPERTS = "num_local_experts";

  private static final Architecture UNROTATED = parts().rotation((reader, slides) -> null).build();

  static final Architecture FAMILY =
      parts()
          .form(config -> !config.stringOr("position_embedding_type", "").equals("rope"), UNROTATED)
          .gguf(Granite.gguf("granite"))
          .build();

  private GraniteMoeHybrid() {}

  private static Architecture.Builder parts() {
    return Granite.named("GraniteMoeHybridForCausalLM", "granitemoehybrid")
        .names(
            TensorNames.LLAMA.with(
                Map.of(
                    LayerRole.GATE, GATE_UP,
                    LayerRole.UP, GATE_UP,
                    LayerRole.DOWN, "shared_mlp.output_linear.weight")))
        .channels(config -> config.positiveOr("shared_intermediate_size", 1024))
        .check(GraniteMoeHybrid::check);
  }

  private static void check(JsonFields config) {
    if (config.countOr(EXPERTS, 8) > 0) {
      throw config.error(EXPERTS, "0: mixtures of experts of this family are not computed");
    }
    JsonNode types = config.node().path(LayerAttentions.TYPES);
    if (types.isEmpty()) {
      throw config.error(LayerAttentions.TYPES, "a list: without one all layers are Mamba's");
    }
    for (JsonNode type : types) {
      if (!type.asText().equals("attention") && !type.asText().equals(LayerAttentions.FULL)) {
        throw config.error(
            LayerAttentions.TYPES, "attention in every layer: Mamba layers are not computed");
      }
    }
  }
}
