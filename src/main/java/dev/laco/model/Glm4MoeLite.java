package dev.laco.model;

/** GLM-4.7-Flash (2026): the mixtures of GLM-4.5 with the attention of DeepSeek-V3. */
final class Glm4MoeLite {
  static final Architecture FAMILY = DeepseekV3.byPairs(Glm4MoeLite::family);

  private Glm4MoeLite() {}

  private static Architecture.Builder family(RotaryPairs pairs) {
    return Architecture.named("Glm4MoeLiteForCausalLM", "glm4_moe_lite")
        .names(Glm4Moe.NAMES.with(LatentAttention.NAMES))
        .latentAttention(new LatentAttention(768, 512, 192, 64, 256))
        .rotaryPairs(pairs)
        .mixture(Glm4Moe.mixture(true).factor(config -> Glm4Moe.factor(config, 1.8)).byTypes())
        .predictionLayers("num_nextn_predict_layers", 1)
        .without("attention_bias")
        .gguf(DeepseekV2.FILES)
        .defaultEps(1e-5)
        .defaultPositions(202752);
  }
}
