package dev.laco.model;

import dev.laco.model.Architecture.Windows;

/** Mistral 7B (Jiang et al. 2023): windows of attention in all layers, no biases. */
final class Mistral {
  static final Architecture FAMILY =
      Architecture.named("MistralForCausalLM", "mistral")
          .windows(Windows.ALL_LAYERS)
          .defaultPositions(131072)
          .gguf("llama")
          .ggufRowsInterleaved()
          .build();

  private Mistral() {}
}
