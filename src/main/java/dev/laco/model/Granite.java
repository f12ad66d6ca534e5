package dev.laco.model;

import dev.laco.model.Architecture.Biases;

/**
 * Granite 3 (IBM 2024): factors on embeddings, on what layers add to the residual stream, on
 * attention scores and on logits.
 */
final class Granite {
  static final Architecture FAMILY =
      named("GraniteForCausalLM", "granite")
          .feedForwardBiases(Biases.BY_CONFIG)
          .gguf(gguf("granite"))
          .build();

  private Granite() {}

  /** Files of a family with Granite's factors. */
  static GgufFamily gguf(String name) {
    return GgufFamily.named(name)
        .rowsInterleaved()
        .biases(GgufFamily.Biases.ALL)
        .value("embedding_scale", "embedding_multiplier", ModelConfig::embeddingScale)
        .value("residual_scale", "residual_multiplier", ModelConfig::residualScale)
        .value(
            GgufFamily.SCORE_SCALE,
            "attention_multiplier",
            model -> model.attentionScores().scale())
        .value("logit_scale", "logits_scaling", model -> 1 / model.logits().scale());
  }

  /** A family with Granite's factors. */
  static Architecture.Builder named(String className, String modelType) {
    return Architecture.named(className, modelType)
        .attentionBiases(Biases.BY_CONFIG, Biases.BY_CONFIG)
        .embeddingScale(config -> config.positiveNumberOr("embedding_multiplier", 1))
        .residualScale(config -> config.positiveNumberOr("residual_multiplier", 1))
        .attentionScores(
            config -> new LogitSpec(config.positiveNumberOr("attention_multiplier", 1), 0))
        .logits(config -> new LogitSpec(1 / config.positiveNumberOr("logits_scaling", 1), 0))
        .defaultPositions(2048);
  }
}
