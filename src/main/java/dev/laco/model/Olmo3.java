package dev.laco.model;

import dev.laco.model.Architecture.Biases;
import dev.laco.model.Architecture.QueryKeyNorm;

/**
 * OLMo 3 (Olmo Team 2025): OLMo 2 with windows in three of four layers, whose rotation is not
 * scaled.
 */
final class Olmo3 {
  private static final double THETA = 500_000;

  static final Architecture FAMILY =
      Architecture.named("Olmo3ForCausalLM", "olmo3")
          .attentionBiases(Biases.BY_CONFIG, Biases.BY_CONFIG)
          .norms(TensorNames.NORMS_BEHIND)
          .queryKeyNorm(QueryKeyNorm.ALL_HEADS)
          .window(config -> config.positiveOr("sliding_window", 4096))
          .slidingLayers((config, layer) -> (layer + 1) % 4 != 0)
          .rotation(Olmo3::rotation)
          .defaultEps(1e-5)
          .defaultPositions(2048)
          .gguf(Olmo2.gguf())
          .build();

  private Olmo3() {}

  private static RopeParameters rotation(RopeParameters.Reader reader, boolean slides) {
    return slides
        ? reader
            .readOfType(LayerAttentions.SLIDING, THETA)
            .orElseGet(() -> reader.plain(reader.config().positiveNumberOr("rope_theta", THETA)))
        : reader.readOfType(LayerAttentions.FULL, THETA).orElseGet(() -> reader.read(THETA));
  }
}
