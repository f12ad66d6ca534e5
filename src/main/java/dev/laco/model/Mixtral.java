package dev.laco.model;

import java.util.Map;

/** Mixtral (Jiang et al. 2024): a mixture of experts in every layer. */
final class Mixtral {
  static final TensorNames NAMES =
      TensorNames.LLAMA
          .with(Map.of(LayerRole.ROUTER, "block_sparse_moe.gate.weight"))
          .withExperts(
              Map.of(
                  LayerRole.GATE, "block_sparse_moe.experts.{expert}.w1.weight",
                  LayerRole.UP, "block_sparse_moe.experts.{expert}.w3.weight",
                  LayerRole.DOWN, "block_sparse_moe.experts.{expert}.w2.weight"));

  static final Architecture FAMILY =
      Architecture.named("MixtralForCausalLM", "mixtral")
          .names(NAMES)
          .mixture(Mixture.Keys.of("intermediate_size", "num_local_experts"))
          .window(config -> config.positiveOr("sliding_window", 0))
          .defaultEps(1e-5)
          .defaultPositions(131072)
          .gguf(
              GgufFamily.named("llama")
                  .rowsInterleaved()
                  .biases(GgufFamily.Biases.ALL)
                  .sharesOfChosen())
          .build();

  private Mixtral() {}
}
