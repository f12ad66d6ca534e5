package dev.laco.model;

import dev.laco.model.Architecture.Biases;

/**
 * Code World Model (FAIR CodeGen Team 2025, arXiv 2510.02387): a Llama with windows in three of
 * four layers, the first of which has none.
 */
final class Cwm {
  private static final double THETA = 1_000_000;

  static final Architecture FAMILY =
      Architecture.named("CwmForCausalLM", "cwm")
          .feedForwardBiases(Biases.BY_CONFIG)
          .without("attention_bias")
          .window(config -> config.positiveOr("sliding_window", 8192))
          .slidingLayers((config, layer) -> layer % 4 != 0)
          .rotation(Cwm::rotation)
          .defaultKeyValueHeads(8)
          .defaultHeadDim(128)
          .defaultEps(1e-5)
          .defaultPositions(131072)
          .build();

  private Cwm() {}

  private static RopeParameters rotation(RopeParameters.Reader reader, boolean slides) {
    JsonFields config = reader.config();
    return config.has("rope_parameters") || config.has("rope_scaling")
        ? reader.read(THETA)
        : new RopeParameters(THETA, 1, new RopeParameters.Llama3(16, 1, 4, 8192));
  }
}
