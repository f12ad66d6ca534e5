package dev.laco.model;

import dev.laco.model.Architecture.Biases;
import dev.laco.model.GgufFamily.Positions;

/**
 * Qwen2 and Qwen2.5 (Yang et al. 2024): biases of queries, keys and values; windows in some layers.
 */
final class Qwen2 {
  static final Architecture FAMILY =
      parts().gguf(GgufFamily.named("qwen2")).knownTo(Loader.JLAMA).build();

  /** The language model of Qwen2-VL and Qwen2.5-VL, which has a name of its own in GGUF files. */
  static final Architecture BESIDE_IMAGES =
      parts()
          .gguf(GgufFamily.named("qwen2vl").positions(Positions.IN_RUNS, 16, 24, 24).withoutEps())
          .build();

  private Qwen2() {}

  private static Architecture.Builder parts() {
    return Architecture.named("Qwen2ForCausalLM", "qwen2")
        .attentionBiases(Biases.ALWAYS, Biases.NEVER)
        .window(Qwen2::window)
        .slidingLayers(Qwen2::slides)
        .defaultPositions(32768);
  }

  static int window(JsonFields config) {
    int window = config.positiveOr("sliding_window", 0);
    return config.booleanOr("use_sliding_window", false) ? window : 0;
  }

  static boolean slides(JsonFields config, int layer) {
    return layer >= config.countOr("max_window_layers", 28);
  }
}
