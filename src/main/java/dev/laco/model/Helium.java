package dev.laco.model;

import dev.laco.model.Architecture.Biases;

/** Helium 1 (Kyutai 2025): a Llama that rotates neighbours. */
final class Helium {
  static final Architecture FAMILY =
      Architecture.named("HeliumForCausalLM", "helium")
          .attentionBiases(Biases.BY_CONFIG, Biases.NEVER)
          .feedForwardBiases(Biases.BY_CONFIG)
          .rotation((reader, slides) -> reader.read(100_000))
          .rotaryPairs(RotaryPairs.NEIGHBOURS)
          .defaultKeyValueHeads(20)
          .defaultHeadDim(128)
          .defaultEps(1e-8)
          .defaultPositions(4096)
          .unknownTo(Loader.VLLM)
          .build();

  private Helium() {}
}
