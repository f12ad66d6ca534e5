package dev.laco.model;

import dev.laco.model.Mixture.Keys;

/**
 * DeepSeek-V2 (2024, arXiv 2405.04434): attention with latent vectors, and mixtures of experts
 * behind the first layers, with experts that all tokens share. Shares are scores, whatever {@code
 * norm_topk_prob} says.
 */
final class DeepseekV2 {
  /** The sizes of its attention. */
  static final LatentAttention SIZES = new LatentAttention(1536, 512, 128, 64, 128);

  /** The GGUF files of all models with its attention but MiniCPM3. */
  static final GgufFamily FILES =
      GgufFamily.named("deepseek2").latentAttention().routerInMetadata();

  static final Architecture FAMILY =
      Architecture.named("DeepseekV2ForCausalLM", "deepseek_v2")
          .names(Glm4Moe.NAMES.without(LayerRole.ROUTER_CORRECTION).with(LatentAttention.NAMES))
          .latentAttention(SIZES)
          .rotaryPairs(RotaryPairs.NEIGHBOURS)
          .mixture(
              Keys.of("moe_intermediate_size", "n_routed_experts", "num_experts")
                  .factor(config -> Glm4Moe.factor(config, 1))
                  .unnormalised()
                  .groups(DeepseekV2::bestOfGroup)
                  .sharedExperts("n_shared_experts", 2)
                  .behindFirst(0))
          .without("attention_bias")
          .without("mlp_bias")
          .gguf(FILES)
          .build();

  private DeepseekV2() {}

  /** By how many of its experts a group is chosen; 0 where experts are not chosen by group. */
  private static int bestOfGroup(JsonFields config) {
    String method = config.stringOr("topk_method", "greedy");
    return switch (method) {
      case "greedy" -> 0;
      case "group_limited_greedy" -> 1;
      default -> throw config.error("topk_method", "greedy or group_limited_greedy");
    };
  }
}
