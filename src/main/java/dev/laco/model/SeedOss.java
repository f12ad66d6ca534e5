package dev.laco.model;

import dev.laco.model.Architecture.Biases;
import java.util.Map;

/** Seed-OSS (ByteDance 2025): a Llama with biases of queries, keys and values, and wide heads. */
final class SeedOss {
  static final Architecture FAMILY =
      Architecture.named("SeedOssForCausalLM", "seed_oss")
          .attentionBiases(Biases.BY_CONFIG, Biases.NEVER)
          .biasKey("attention_bias", true)
          .without("attention_out_bias")
          .without("mlp_bias")
          .defaultHeadDim(128)
          .defaultEps(1e-6)
          .defaultPositions(524288)
          .gguf(
              GgufFamily.named("seed_oss")
                  .names(Map.of(LayerRole.FEED_FORWARD_INPUT_NORM, "post_attention_norm.weight")))
          .build();

  private SeedOss() {}
}
