package dev.laco.model;

import dev.laco.model.GgufFamily.Positions;

/** Qwen3.5 with mixtures of experts (Qwen Team 2026), one of which all tokens share. */
final class Qwen35Moe {
  static final Architecture FAMILY =
      Qwen35.named("Qwen3_5MoeForCausalLM", "qwen3_5_moe_text")
          .names(Qwen2Moe.NAMES.with(LinearAttention.NAMES).with(LinearAttention.PROJECTIONS))
          .stackedExperts()
          .mixture(
              Mixture.Keys.of("moe_intermediate_size", "num_experts", "num_local_experts")
                  .shared(config -> config.positiveOr("shared_expert_intermediate_size", 512)))
          .channels(config -> config.requiredPositive("moe_intermediate_size"))
          .defaultKeyValueHeads(2)
          .gguf(
              Qwen35.gguf("qwen35moe", true)
                  .positions(Positions.IN_TURN, 11, 11, 10)
                  .sharesOfChosen())
          .build();

  private Qwen35Moe() {}
}
