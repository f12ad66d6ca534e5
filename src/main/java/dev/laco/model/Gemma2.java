package dev.laco.model;

import dev.laco.model.Architecture.Biases;

/**
 * Gemma 2 (Gemma Team 2024, arXiv 2408.00118): Gemma with norms before and behind attention and
 * feed-forward network, soft-caps on attention scores and logits, and windows in every second
 * layer.
 */
final class Gemma2 {
  static final Architecture FAMILY =
      Architecture.named("Gemma2ForCausalLM", "gemma2")
          .attentionBiases(Biases.BY_CONFIG, Biases.BY_CONFIG)
          .norms(TensorNames.NORMS_AROUND)
          .normOffset(1)
          .embeddingScale(Gemma::embeddingScale)
          .activation(Gemma2::activation)
          .attentionScores(config -> attentionScores(config, 50))
          .logits(config -> logits(config, 30))
          .window(Gemma2::window)
          .slidingLayers((config, layer) -> layer % 2 == 0)
          .without("use_bidirectional_attention")
          .tiedByDefault()
          .defaultHeadDim(256)
          .defaultPositions(8192)
          .gguf(
              GgufFamily.named("gemma2")
                  .head(GgufFamily.Head.TIED)
                  .activation("hidden_activation", Activation.GELU_TANH)
                  .windows(2)
                  .defaultWindow(4096)
                  .needsWindow()
                  .oneRotation()
                  .scoresByHiddenAt(46))
          .build();

  private Gemma2() {}

  static Activation activation(JsonFields config) {
    return Activation.read(config, "hidden_activation", Activation.GELU_TANH);
  }

  static LogitSpec attentionScores(JsonFields config, double defaultCap) {
    return new LogitSpec(
        1 / Math.sqrt(config.positiveNumberOr("query_pre_attn_scalar", 256)),
        softCap(config, "attn_logit_softcapping", defaultCap));
  }

  static LogitSpec logits(JsonFields config, double defaultCap) {
    return new LogitSpec(1, softCap(config, "final_logit_softcapping", defaultCap));
  }

  static int window(JsonFields config) {
    return config.positiveOr("sliding_window", 4096);
  }

  /** A soft-cap; a config switches it off by {@code null}. */
  private static double softCap(JsonFields config, String key, double defaultCap) {
    boolean off = config.node().has(key) && !config.has(key);
    return off
        ? 0
        : defaultCap > 0 || config.has(key) ? config.positiveNumberOr(key, defaultCap) : 0;
  }
}
