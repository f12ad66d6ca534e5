package dev.laco.model;

import java.util.function.Function;

/**
 * DeepSeek-V3 and R1 (2024, arXiv 2412.19437), and Moonlight (2025, arXiv 2502.16982): the
 * attention of DeepSeek-V2 with the router that GLM-4.5 has, too.
 */
final class DeepseekV3 {
  static final Architecture FAMILY = byPairs(DeepseekV3::family);

  private DeepseekV3() {}

  /** A family whose configs say which elements are rotated together. */
  static Architecture byPairs(Function<RotaryPairs, Architecture.Builder> family) {
    return family
        .apply(RotaryPairs.NEIGHBOURS)
        .form(
            config -> !config.booleanOr("rope_interleave", true),
            family.apply(RotaryPairs.HALVES).build())
        .build();
  }

  private static Architecture.Builder family(RotaryPairs pairs) {
    return Architecture.named("DeepseekV3ForCausalLM", "deepseek_v3")
        .names(Glm4Moe.NAMES.with(LatentAttention.NAMES))
        .latentAttention(DeepseekV2.SIZES)
        .rotaryPairs(pairs)
        .mixture(Glm4Moe.mixture(true).factor(config -> Glm4Moe.factor(config, 2.5)).behindFirst(3))
        .predictionLayers("num_nextn_predict_layers", 1)
        .without("attention_bias")
        .gguf(DeepseekV2.FILES)
        .defaultPositions(4096);
  }
}
