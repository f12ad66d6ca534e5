package dev.laco.model;

import dev.laco.model.Architecture.Biases;
import dev.laco.model.Architecture.QueryKeyNorm;
import dev.laco.model.Mixture.Shares;
import java.util.List;

/** OLMoE (Muennighoff et al. 2024): a mixture of experts in every layer; norms over all heads. */
final class Olmoe {
  static final Architecture FAMILY =
      Architecture.named("OlmoeForCausalLM", "olmoe")
          .names(TensorNames.LLAMA_EXPERTS)
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
          .gguf(
              GgufFamily.named("olmoe")
                  .squareOutput()
                  .head(GgufFamily.Head.OWN)
                  .refuses(
                      (model, window) ->
                          model.numKeyValueHeads() == model.numAttentionHeads()
                              ? null
                              : "an OLMoE with grouped queries"))
          .build();

  private Olmoe() {}
}
