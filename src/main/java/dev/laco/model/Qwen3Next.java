package dev.laco.model;

/**
 * Qwen3-Next (Qwen Team 2025): three of four layers have linear attention, and layers have mixtures
 * of experts, one of which all tokens share.
 */
final class Qwen3Next {
  static final Architecture FAMILY =
      Qwen35.named("Qwen3NextForCausalLM", "qwen3_next")
          .names(
              Qwen2Moe.NAMES
                  .with(LinearAttention.NAMES)
                  .with(LinearAttention.PROJECTIONS_BY_KEY_HEAD))
          .mixture(
              Mixture.Keys.of("moe_intermediate_size", "num_experts", "num_local_experts")
                  .normalisedByConfig(true)
                  .shared(config -> config.positiveOr("shared_expert_intermediate_size", 512))
                  .everyStep())
          .defaultKeyValueHeads(2)
          .gguf(Qwen35.gguf("qwen3next", false).sharesOfChosen())
          .build();

  private Qwen3Next() {}
}
