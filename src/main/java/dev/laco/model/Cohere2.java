package dev.laco.model;

import dev.laco.model.Architecture.Biases;
import dev.laco.model.Architecture.NormKind;
import dev.laco.model.Architecture.ParallelNorms;
import org.jspecify.annotations.Nullable;

/**
 * Command R7B and Command A (Cohere 2024): Command-R with windows in three of four layers, which
 * alone rotate queries and keys.
 */
final class Cohere2 {
  static final Architecture FAMILY =
      Architecture.named("Cohere2ForCausalLM", "cohere2")
          .attentionBiases(Biases.BY_CONFIG, Biases.BY_CONFIG)
          .norms(NormKind.LAYER, "layer_norm_eps")
          .defaultEps(1e-5)
          .parallel(ParallelNorms.ONE, config -> true)
          .window(Cohere2::window)
          .slidingLayers(
              (config, layer) -> (layer + 1) % config.positiveOr("sliding_window_pattern", 4) != 0)
          .rotaryPairs(RotaryPairs.NEIGHBOURS)
          .rotation(Cohere2::rotation)
          .logits(Cohere::logits)
          .tiedByDefault()
          .defaultPositions(8192)
          .gguf(
              GgufFamily.named("cohere2")
                  .squareOutput()
                  .head(GgufFamily.Head.TIED)
                  .windows(4)
                  .needsWindow()
                  .layerRotation(turn -> turn.slides() ? turn.main() : null)
                  .value("logit_scale", "logit_scale", model -> model.logits().scale()))
          .build();

  private Cohere2() {}

  private static int window(JsonFields config) {
    return config.positiveOrNull("sliding_window", 4096);
  }

  private static @Nullable RopeParameters rotation(RopeParameters.Reader reader, boolean slides) {
    return slides && window(reader.config()) > 0 ? reader.read(10_000) : null;
  }
}
