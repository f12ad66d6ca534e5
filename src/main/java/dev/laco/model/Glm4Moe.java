package dev.laco.model;

import dev.laco.model.Architecture.Biases;
import dev.laco.model.Architecture.QueryKeyNorm;
import dev.laco.model.Mixture.Keys;
import dev.laco.model.RopeParameters.Rotates;
import dev.laco.model.RouterSpec.Scores;
import java.util.Map;

/**
 * GLM-4.5 to GLM-4.7 (GLM Team 2025, arXiv 2508.06471): mixtures of experts behind the first
 * layers, whose router is that of DeepSeek-V3, with one expert that all tokens share.
 */
final class Glm4Moe {
  /** The names of {@link TensorNames#LLAMA_EXPERTS}, with a correction and a shared expert. */
  static final TensorNames NAMES =
      TensorNames.LLAMA_EXPERTS.with(
          Map.of(
              LayerRole.ROUTER_CORRECTION, "mlp.gate.e_score_correction_bias",
              LayerRole.SHARED_GATE, "mlp.shared_experts.gate_proj.weight",
              LayerRole.SHARED_UP, "mlp.shared_experts.up_proj.weight",
              LayerRole.SHARED_DOWN, "mlp.shared_experts.down_proj.weight"));

  static final Architecture FAMILY =
      Architecture.named("Glm4MoeForCausalLM", "glm4_moe")
          .names(NAMES)
          .mixture(mixture(true).behindFirst(1))
          .predictionLayers("num_nextn_predict_layers", 1)
          .attentionBiases(Biases.BY_CONFIG, Biases.NEVER)
          .queryKeyNorm(QueryKeyNorm.EACH_HEAD, config -> config.booleanOr("use_qk_norm", false))
          .rotates(Rotates.shareOf("partial_rotary_factor", 0.5))
          .defaultKeyValueHeads(8)
          .defaultEps(1e-5)
          .defaultPositions(131072)
          .gguf(
              GgufFamily.named("glm4moe")
                  .names(Map.of(LayerRole.FEED_FORWARD_INPUT_NORM, "post_attention_norm.weight"))
                  .head(GgufFamily.Head.OWN)
                  .routerInMetadata()
                  .counts(
                      Map.of(
                          GgufNames.GROUPS,
                          1,
                          GgufNames.CHOSEN_GROUPS,
                          1,
                          "nextn_predict_layers",
                          0))
                  .config(
                      (config, tensors) ->
                          config.put("use_qk_norm", tensors.contains("blk.0.attn_q_norm.weight"))))
          .build();

  private Glm4Moe() {}

  /**
   * Mixtures with the router of DeepSeek-V3 (2024, section 2.1.2).
   *
   * @param normalised whether shares sum to 1 where the config has no {@code norm_topk_prob}
   */
  static Keys mixture(boolean normalised) {
    return Keys.of("moe_intermediate_size", "n_routed_experts", "num_local_experts")
        .scores(Scores.SIGMOID)
        .normalisedByConfig(normalised)
        .factor(config -> factor(config, 1))
        .groups(config -> 2)
        .sharedExperts("n_shared_experts", 1);
  }

  /**
   * The factor on shares.
   *
   * @param byDefault where the config has none
   */
  static double factor(JsonFields config, double byDefault) {
    double factor = config.numberOr("routed_scaling_factor", byDefault);
    if (!(factor > 0)) {
      throw config.error("routed_scaling_factor", "a number above 0");
    }
    return factor;
  }
}
