package dev.laco.model;

import dev.laco.model.Architecture.Biases;
import dev.laco.model.Architecture.QueryKeyNorm;

/** OLMoE (Muennighoff et al. 2024): a mixture of experts in every layer; norms over all heads. */
final class Olmoe {
  static final Architecture FAMILY =
      Architecture.named("OlmoeForCausalLM", "olmoe")
          .names(TensorNames.LLAMA_EXPERTS)
          .mixture(
              Mixture.Keys.of("intermediate_size", "num_experts", "num_local_experts")
                  .normalisedByConfig(false))
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
