package dev.laco.model;

import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.laco.model.Mixture.Keys;
import dev.laco.model.RouterSpec.Scores;
import java.util.List;
import java.util.Map;

/**
 * LFM2 with mixtures of experts behind the first layers (Liquid AI 2025, arXiv 2511.23404), whose
 * router is that of DeepSeek-V3 without groups and without an expert that all tokens share.
 */
final class Lfm2Moe {
  private static final String DENSE_LAYERS = "num_dense_layers";

  static final Architecture FAMILY =
      Lfm2.named("Lfm2MoeForCausalLM", "lfm2_moe")
          .names(
              Lfm2.NAMES
                  .with(
                      Map.of(
                          LayerRole.ROUTER, "feed_forward.gate.weight",
                          LayerRole.ROUTER_CORRECTION, "feed_forward.expert_bias"))
                  .withExperts(
                      Map.of(
                          LayerRole.GATE, "feed_forward.experts.{expert}.w1.weight",
                          LayerRole.UP, "feed_forward.experts.{expert}.w3.weight",
                          LayerRole.DOWN, "feed_forward.experts.{expert}.w2.weight")))
          .mixture(
              Keys.of("moe_intermediate_size", "num_experts")
                  .scores(Scores.SIGMOID)
                  .normalisedByConfig(true)
                  .factor(config -> Glm4Moe.factor(config, 1))
                  .addedToSum(1e-6)
                  .behindFirst(DENSE_LAYERS, 2))
          .check(Lfm2Moe::check)
          .gguf(
              Lfm2.gguf("lfm2moe").routerInMetadata().config((config, tensors) -> fromGguf(config)))
          .build();

  private Lfm2Moe() {}

  private static void check(JsonFields config) {
    Lfm2.check(config);
    if (!config.booleanOr("use_expert_bias", true)) {
      throw config.error("use_expert_bias", "true, which alone is supported");
    }
  }

  private static void fromGguf(ObjectNode config) {
    config.set(DENSE_LAYERS, config.remove("first_k_dense_replace"));
    config.remove(List.of("n_shared_experts", "num_nextn_predict_layers"));
  }
}
