package dev.laco.model;

import dev.laco.model.Architecture.Biases;
import dev.laco.model.Architecture.QueryKeyNorm;
import dev.laco.model.GgufFamily.Positions;

/** Qwen3 (Yang et al. 2025): norms of queries and keys; windows in some layers. */
final class Qwen3 {
  static final Architecture FAMILY = parts().gguf(GgufFamily.named("qwen3")).build();

  /** The language model of Qwen3-VL, which has a name of its own in GGUF files. */
  static final Architecture BESIDE_IMAGES = parts().gguf(besideImages("qwen3vl")).build();

  private Qwen3() {}

  private static Architecture.Builder parts() {
    return Architecture.named("Qwen3ForCausalLM", "qwen3")
        .attentionBiases(Biases.BY_CONFIG, Biases.BY_CONFIG)
        .queryKeyNorm(QueryKeyNorm.EACH_HEAD)
        .window(Qwen2::window)
        .slidingLayers(Qwen2::slides)
        .defaultHeadDim(128)
        .defaultPositions(32768);
  }

  /** Files of language models of Qwen3-VL. */
  static GgufFamily besideImages(String name) {
    return GgufFamily.named(name).positions(Positions.IN_TURN, 24, 20, 20);
  }
}
