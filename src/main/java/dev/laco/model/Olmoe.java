package dev.laco.model;

import dev.laco.model.Architecture.Biases;
import dev.laco.model.Architecture.QueryKeyNorm;
import dev.laco.model.Mixture.Shares;
import java.util.List;
import java.util.Map;

/** OLMoE (Muennighoff et al. 2024): a mixture of experts in every layer; norms over all heads. */
final class Olmoe {
  static final Architecture FAMILY =
      Architecture.named("OlmoeForCausalLM", "olmoe")
          .names(
              TensorNames.LLAMA
                  .with(Map.of(LayerRole.ROUTER, "mlp.gate.weight"))
                  .withExperts(
                      Map.of(
                          LayerRole.GATE, "mlp.experts.{expert}.gate_proj.weight",
                          LayerRole.UP, "mlp.experts.{expert}.up_proj.weight",
                          LayerRole.DOWN, "mlp.experts.{expert}.down_proj.weight")))
          .mixture(
              new Mixture.Keys(
                  List.of("num_experts", "num_local_experts"),
                  "intermediate_size",
                  Shares.BY_CONFIG,
                  false,
                  false))
          .attentionBiases(Biases.BY_CONFIG, Biases.BY_CONFIG)
          .queryKeyNorm(QueryKeyNorm.ALL_HEADS)
          .without("clip_qkv")
          .defaultEps(1e-5)
          .defaultPositions(4096)
          .build();

  private Olmoe() {}
}
