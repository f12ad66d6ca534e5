package dev.laco.model;

import dev.laco.model.Architecture.Biases;
import java.util.Map;

/**
 * HyperCLOVA X (NAVER 2025): a Granite whose factor on logits multiplies, with or without norms
 * behind attention and feed-forward network.
 */
final class HyperClovaX {
  private static final Architecture WITHOUT_NORMS_BEHIND = parts().build();

  static final Architecture FAMILY =
      parts()
          .norms(
              Map.of(
                  LayerRole.ATTENTION_INPUT_NORM, "input_layernorm.weight",
                  LayerRole.ATTENTION_OUTPUT_NORM, "post_norm1.weight",
                  LayerRole.FEED_FORWARD_INPUT_NORM, "post_attention_layernorm.weight",
                  LayerRole.FEED_FORWARD_OUTPUT_NORM, "post_norm2.weight"))
          .form(config -> !config.booleanOr("use_post_norm", true), WITHOUT_NORMS_BEHIND)
          .build();

  private HyperClovaX() {}

  /** What the forms have in common. */
  private static Architecture.Builder parts() {
    return Granite.named("HyperCLOVAXForCausalLM", "hyperclovax")
        .feedForwardBiases(Biases.BY_CONFIG)
        .attentionScores(HyperClovaX::attentionScores)
        .logits(config -> new LogitSpec(config.positiveNumberOr("logits_scaling", 1), 0));
  }

  private static LogitSpec attentionScores(JsonFields config) {
    int heads = config.requiredPositive("num_attention_heads");
    int headDim = config.positiveOr("head_dim", config.requiredPositive("hidden_size") / heads);
    return new LogitSpec(
        config.positiveNumberOr("attention_multiplier", 1 / Math.sqrt(headDim)), 0);
  }
}
