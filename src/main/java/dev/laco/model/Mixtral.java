package dev.laco.model;

import dev.laco.model.Mixture.Shares;
import java.util.List;
import java.util.Map;

/** Mixtral (Jiang et al. 2024): a mixture of experts in every layer. */
final class Mixtral {
  static final Architecture FAMILY =
      Architecture.named("MixtralForCausalLM", "mixtral")
          .names(
              TensorNames.LLAMA
                  .with(Map.of(LayerRole.ROUTER, "block_sparse_moe.gate.weight"))
                  .withExperts(
                      Map.of(
                          LayerRole.GATE, "block_sparse_moe.experts.{expert}.w1.weight",
                          LayerRole.UP, "block_sparse_moe.experts.{expert}.w3.weight",
                          LayerRole.DOWN, "block_sparse_moe.experts.{expert}.w2.weight")))
          .mixture(
              new Mixture.Keys(
                  List.of("num_local_experts"), "intermediate_size", Shares.CHOSEN, false, false))
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
