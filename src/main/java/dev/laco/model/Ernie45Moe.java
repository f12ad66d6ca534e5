package dev.laco.model;

import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.laco.model.Mixture.Keys;
import dev.laco.model.RouterSpec.Scores;
import java.util.List;
import java.util.Map;

/**
 * ERNIE 4.5 with mixtures of experts (Baidu 2025): a router whose choice has a correction, and
 * experts that all tokens share, stored as one.
 */
final class Ernie45Moe {
  static final Architecture FAMILY =
      Architecture.named("Ernie4_5_MoeForCausalLM", "ernie4_5_moe")
          .names(
              Glm4Moe.NAMES.with(
                  Map.of(LayerRole.ROUTER_CORRECTION, "mlp.moe_statics.e_score_correction_bias")))
          .correctionInRow()
          .mixture(
              Keys.of("moe_intermediate_size", "moe_num_experts", "num_experts")
                  .chosen("moe_k")
                  .scores(Scores.SOFTMAX)
                  .sharedExperts("moe_num_shared_experts", 2)
                  .between(config -> config.countOr("moe_layer_start_index", 1), Ernie45Moe::last))
          .predictionLayers("num_nextn_predict_layers", 1)
          .without("use_bias")
          .rotation((reader, slides) -> reader.read(500_000))
          .defaultKeyValueHeads(4)
          .rotaryPairs(RotaryPairs.NEIGHBOURS)
          .tiedByDefault()
          .defaultEps(1e-5)
          .defaultPositions(131072)
          .gguf(
              GgufFamily.named("ernie4_5-moe")
                  .routerInMetadata()
                  .counts(Map.of("interleave_moe_layer_step", 1))
                  .config((config, tensors) -> fromGguf(config)))
          .build();

  private Ernie45Moe() {}

  private static void fromGguf(ObjectNode config) {
    config.set("moe_num_shared_experts", config.remove("n_shared_experts"));
    config.set("moe_layer_start_index", config.remove("first_k_dense_replace"));
    config.remove(List.of("norm_topk_prob", "routed_scaling_factor", "num_nextn_predict_layers"));
  }

  /** The last layer with a mixture; -1 means the last of all. */
  private static int last(JsonFields config) {
    if (config.positiveOr("moe_layer_interval", 1) != 1) {
      throw config.error("moe_layer_interval", "1, which alone is supported");
    }
    boolean toTheEnd = config.node().path("moe_layer_end_index").asInt(-1) == -1;
    return toTheEnd ? Integer.MAX_VALUE : config.countOr("moe_layer_end_index", 0);
  }
}
