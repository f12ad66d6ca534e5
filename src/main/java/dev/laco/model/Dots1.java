package dev.laco.model;

import dev.laco.model.Architecture.Biases;
import dev.laco.model.Architecture.QueryKeyNorm;
import java.util.Map;

/**
 * dots.llm1 (rednote-hilab 2025, arXiv 2506.05767): the mixtures of GLM-4.5; norms of queries and
 * keys, and windows in the last layers of some configs.
 */
final class Dots1 {
  static final Architecture FAMILY =
      Architecture.named("Dots1ForCausalLM", "dots1")
          .names(Glm4Moe.NAMES)
          .mixture(Glm4Moe.mixture(false).behindFirst(0))
          .attentionBiases(Biases.BY_CONFIG, Biases.BY_CONFIG)
          .queryKeyNorm(QueryKeyNorm.EACH_HEAD)
          .window(config -> config.positiveOrNull("sliding_window", 4096))
          .slidingLayers((config, layer) -> layer >= config.countOr("max_window_layers", 62))
          .defaultPositions(2048)
          // Releases before 0.23 did.
          .unknownTo(Loader.VLLM)
          .gguf(
              GgufFamily.named("dots1")
                  .head(GgufFamily.Head.OWN)
                  .ignoresWindows(GgufFamily.WindowKey.NEVER)
                  .routerInMetadata()
                  .counts(Map.of(GgufNames.GROUPS, 1, GgufNames.CHOSEN_GROUPS, 1))
                  .refuses(
                      (model, window) ->
                          model.numKeyValueHeads() == model.numAttentionHeads()
                              ? null
                              : "a dots.llm1 with grouped queries"))
          .build();

  private Dots1() {}
}
