package dev.laco.model;

import dev.laco.model.Architecture.Biases;
import dev.laco.model.Architecture.QueryKeyNorm;

/**
 * OLMo 2 (Walsh et al. 2024): norms behind attention and feed-forward network and none before, one
 * norm of all heads of queries and one of keys.
 */
final class Olmo2 {
  static final Architecture FAMILY =
      Architecture.named("Olmo2ForCausalLM", "olmo2")
          .attentionBiases(Biases.BY_CONFIG, Biases.BY_CONFIG)
          .norms(TensorNames.NORMS_BEHIND)
          .queryKeyNorm(QueryKeyNorm.ALL_HEADS)
          .defaultEps(1e-5)
          .defaultPositions(2048)
          .gguf(gguf())
          .build();

  private Olmo2() {}

  /** Files of both OLMo 2 and 3, which llama.cpp takes for one family. */
  static GgufFamily gguf() {
    return GgufFamily.named("olmo2")
        .squareOutput()
        .head(GgufFamily.Head.OWN)
        .windows(4)
        .layerRotation(Gemma3::rotationInLlamaCpp);
  }
}
