package dev.laco.model;

import dev.laco.model.Architecture.Biases;
import dev.laco.model.Architecture.Windows;

/**
 * Qwen2 and Qwen2.5 (Yang et al. 2024): biases of queries, keys and values; windows in some layers.
 */
final class Qwen2 {
  static final Architecture FAMILY =
      Architecture.named("Qwen2ForCausalLM", "qwen2")
          .attentionBiases(Biases.ALWAYS, Biases.NEVER)
          .windows(Windows.BY_LAYER)
          .defaultPositions(32768)
          .gguf("qwen2")
          .build();

  private Qwen2() {}
}
