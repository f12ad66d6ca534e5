package dev.laco.model;

import dev.laco.model.Architecture.Biases;

/**
 * ERNIE 4.5 (Baidu 2025), the models without mixtures of experts: a Llama that rotates neighbours,
 * with one key for all biases.
 */
final class Ernie45 {
  static final Architecture FAMILY =
      Architecture.named("Ernie4_5ForCausalLM", "ernie4_5")
          .attentionBiases(Biases.BY_CONFIG, Biases.BY_CONFIG)
          .feedForwardBiases(Biases.BY_CONFIG)
          .biasKey("use_bias", false)
          .rotation((reader, slides) -> reader.read(500_000))
          .rotaryPairs(RotaryPairs.NEIGHBOURS)
          .defaultKeyValueHeads(2)
          .defaultHeadDim(128)
          .defaultEps(1e-5)
          .tiedByDefault()
          .defaultPositions(131072)
          .gguf(GgufFamily.named("ernie4_5"))
          .build();

  private Ernie45() {}
}
