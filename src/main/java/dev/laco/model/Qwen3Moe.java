package dev.laco.model;

import dev.laco.model.Architecture.Biases;
import dev.laco.model.Architecture.QueryKeyNorm;

/** Qwen3 with mixtures of experts (Yang et al. 2025); some layers may have one network instead. */
final class Qwen3Moe {
  static final Architecture FAMILY =
      Architecture.named("Qwen3MoeForCausalLM", "qwen3_moe")
          .names(TensorNames.LLAMA_EXPERTS)
          .mixture(
              Mixture.Keys.of("moe_intermediate_size", "num_experts", "num_local_experts")
                  .normalisedByConfig(false)
                  .everyStep())
          .attentionBiases(Biases.BY_CONFIG, Biases.BY_CONFIG)
          .queryKeyNorm(QueryKeyNorm.EACH_HEAD)
          .window(Qwen2::window)
          .defaultPositions(32768)
          .gguf(GgufFamily.named("qwen3moe").sharesOfChosen())
          .build();

  private Qwen3Moe() {}
}
