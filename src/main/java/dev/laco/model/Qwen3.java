package dev.laco.model;

import dev.laco.model.Architecture.Biases;
import dev.laco.model.Architecture.QueryKeyNorm;

/** Qwen3 (Yang et al. 2025): norms of queries and keys; windows in some layers. */
final class Qwen3 {
  static final Architecture FAMILY =
      Architecture.named("Qwen3ForCausalLM", "qwen3")
          .attentionBiases(Biases.BY_CONFIG, Biases.BY_CONFIG)
          .queryKeyNorm(QueryKeyNorm.EACH_HEAD)
          .window(Qwen2::window)
          .slidingLayers(Qwen2::slides)
          .defaultHeadDim(128)
          .defaultPositions(32768)
          .gguf(GgufFamily.named("qwen3"))
          .build();

  private Qwen3() {}
}
