package dev.laco.model;

import dev.laco.model.Architecture.Biases;

/**
 * Llama 2 and 3 (Touvron et al. 2023, Grattafiori et al. 2024), and the many models built like
 * them.
 */
final class Llama {
  static final Architecture FAMILY =
      Architecture.named("LlamaForCausalLM", "llama")
          .attentionBiases(Biases.BY_CONFIG, Biases.BY_CONFIG)
          .feedForwardBiases(Biases.BY_CONFIG)
          .defaultPositions(2048)
          .gguf(GgufFamily.named("llama").rowsInterleaved().biases(GgufFamily.Biases.ALL))
          .knownTo(Loader.JLAMA)
          .build();

  private Llama() {}
}
