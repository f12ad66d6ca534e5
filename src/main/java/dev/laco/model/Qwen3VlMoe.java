package dev.laco.model;

import dev.laco.model.Architecture.Biases;
import dev.laco.model.Architecture.QueryKeyNorm;
import java.util.Map;

/**
 * The language model of Qwen3-VL with mixtures of experts (Bai et al. 2025, arXiv 2511.21631),
 * which no checkpoint has alone: that of Qwen3-MoE with shares that always sum to 1. One tensor has
 * the matrices of all experts. They are transposed in published models, and not in those that
 * transformers has written since release 5.
 */
final class Qwen3VlMoe {
  static final Architecture FAMILY =
      Architecture.named("Qwen3VLMoeTextModel", "qwen3_vl_moe_text")
          .names(
              TensorNames.LLAMA_EXPERTS.withExperts(
                  Map.of(
                      LayerRole.GATE_UP_TRANSPOSED, "mlp.experts.gate_up_proj",
                      LayerRole.DOWN_TRANSPOSED, "mlp.experts.down_proj")))
          .stackedExperts()
          .mixture(
              Mixture.Keys.of("moe_intermediate_size", "num_experts", "num_local_experts")
                  .everyStep())
          .attentionBiases(Biases.BY_CONFIG, Biases.BY_CONFIG)
          .queryKeyNorm(QueryKeyNorm.EACH_HEAD)
          .defaultPositions(128_000)
          .gguf(Qwen3.besideImages("qwen3vlmoe").sharesOfChosen())
          .build();

  private Qwen3VlMoe() {}
}
