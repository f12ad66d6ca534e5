package dev.laco.model;

/** Mistral 7B (Jiang et al. 2023): windows of attention in all layers, no biases. */
final class Mistral {
  static final Architecture FAMILY =
      Architecture.named("MistralForCausalLM", "mistral")
          .window(config -> config.positiveOrNull("sliding_window", 4096))
          .defaultPositions(131072)
          .gguf(GgufFamily.named("llama").rowsInterleaved().biases(GgufFamily.Biases.ALL))
          .build();

  private Mistral() {}
}
