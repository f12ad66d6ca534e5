package dev.laco.model;

import dev.laco.model.Architecture.Biases;
import dev.laco.model.RopeParameters.Rotates;

/** Solar Open (Upstage 2026): the mixtures of GLM-4.5 in every layer. */
final class SolarOpen {
  static final Architecture FAMILY =
      Architecture.named("SolarOpenForCausalLM", "solar_open")
          .names(Glm4Moe.NAMES)
          .mixture(Glm4Moe.mixture(true))
          .attentionBiases(Biases.BY_CONFIG, Biases.NEVER)
          .rotation((reader, slides) -> reader.read(1_000_000))
          .rotates(Rotates.BY_CONFIG)
          .defaultHeadDim(128)
          .defaultKeyValueHeads(8)
          .defaultEps(1e-5)
          .defaultPositions(131072)
          .unknownTo(Loader.VLLM)
          .build();

  private SolarOpen() {}
}
