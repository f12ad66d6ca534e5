package dev.laco.model;

import dev.laco.model.Architecture.QueryKeyNorm;
import org.jspecify.annotations.Nullable;

/**
 * EXAONE 4 (LG AI Research 2025, arXiv 2507.11407): norms behind attention and feed-forward network
 * and none before, norms of queries and keys; the larger models have windows in three of four
 * layers and rotate in these alone.
 */
final class Exaone4 {
  private static final int LAYERS_WITH_WINDOWS = 64;

  static final Architecture FAMILY =
      Architecture.named("Exaone4ForCausalLM", "exaone4")
          .norms(TensorNames.NORMS_BEHIND)
          .queryKeyNorm(QueryKeyNorm.EACH_HEAD)
          .window(Exaone4::window)
          .slidingLayers(Exaone4::slides)
          .rotation(Exaone4::rotation)
          .defaultEps(1e-5)
          .defaultPositions(2048)
          .gguf(
              GgufFamily.named("exaone4")
                  .squareOutput()
                  .windows(4)
                  .layerRotation(turn -> turn.slides() || !turn.windows() ? turn.main() : null)
                  .refuses(Exaone4::refusedByLlamaCpp))
          .build();

  private Exaone4() {}

  /** llama.cpp goes by the number of layers. */
  private static @Nullable String refusedByLlamaCpp(ModelConfig model, int window) {
    return window > 0 && model.numHiddenLayers() != LAYERS_WITH_WINDOWS
        ? "attention windows, which llama.cpp gives EXAONE 4 at 64 layers alone,"
        : null;
  }

  private static int window(JsonFields config) {
    return config.positiveOrNull("sliding_window", 4096);
  }

  private static boolean slides(JsonFields config, int layer) {
    return window(config) > 0 && (layer + 1) % config.positiveOr("sliding_window_pattern", 4) != 0;
  }

  private static @Nullable RopeParameters rotation(RopeParameters.Reader reader, boolean slides) {
    return slides || window(reader.config()) == 0 ? reader.read(10_000) : null;
  }
}
