package dev.laco.model;

import java.util.Map;

/**
 * Granite 3 with mixtures of experts (IBM 2024): a mixture in every layer, whose experts lie in two
 * tensors of three extents.
 */
final class GraniteMoe {
  private static final String GATE_UP = "block_sparse_moe.input_linear.weight";

  static final Architecture FAMILY =
      Granite.named("GraniteMoeForCausalLM", "granitemoe")
          .names(
              TensorNames.LLAMA
                  .with(Map.of(LayerRole.ROUTER, "block_sparse_moe.router.layer.weight"))
                  .withExperts(
                      Map.of(
                          LayerRole.GATE, GATE_UP,
                          LayerRole.UP, GATE_UP,
                          LayerRole.DOWN, "block_sparse_moe.output_linear.weight")))
          .mixture(Mixture.Keys.of("intermediate_size", "num_local_experts"))
          .gguf(Granite.gguf("granitemoe").sharesOfChosen())
          .build();

  private GraniteMoe() {}
}
