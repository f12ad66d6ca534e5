package dev.laco.model;

import dev.laco.model.Architecture.Biases;

/**
 * Gemma (Gemma Team 2024): norms that add 1 to their weights, embeddings multiplied by the square
 * root of the hidden size, tanh GELU.
 */
final class Gemma {
  static final Architecture FAMILY =
      Architecture.named("GemmaForCausalLM", "gemma")
          .attentionBiases(Biases.BY_CONFIG, Biases.BY_CONFIG)
          .normOffset(1)
          .embeddingScale(Gemma::embeddingScale)
          .activation(Gemma::activation)
          .without("use_bidirectional_attention")
          .tiedByDefault()
          .defaultHeadDim(256)
          .defaultPositions(8192)
          .gguf(
              GgufFamily.named("gemma")
                  .head(GgufFamily.Head.TIED)
                  .activation("hidden_act", Activation.GELU_TANH))
          .build();

  private Gemma() {}

  static double embeddingScale(JsonFields config) {
    return Math.sqrt(config.requiredPositive("hidden_size"));
  }

  /** The first configs name the exact GELU and mean the approximation. */
  private static Activation activation(JsonFields config) {
    Activation named = Activation.read(config, "hidden_act", Activation.GELU_TANH);
    return named == Activation.GELU ? Activation.GELU_TANH : named;
  }
}
