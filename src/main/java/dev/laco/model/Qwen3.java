package dev.laco.model;

import dev.laco.model.Architecture.Biases;
import dev.laco.model.Architecture.Windows;

/** Qwen3 (Yang et al. 2025): norms of queries and keys; windows in some layers. */
final class Qwen3 {
  static final Architecture FAMILY =
      Architecture.named("Qwen3ForCausalLM", "qwen3")
          .attentionBiases(Biases.BY_CONFIG, Biases.BY_CONFIG)
          .queryKeyNorm()
          .windows(Windows.BY_LAYER)
          .defaultHeadDim(128)
          .defaultPositions(32768)
          .gguf("qwen3")
          .build();

  private Qwen3() {}
}
