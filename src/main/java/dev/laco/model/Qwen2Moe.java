package dev.laco.model;

import dev.laco.model.Architecture.Biases;
import java.util.Map;

/** Qwen1.5 and Qwen2 with mixtures of experts (Yang et al. 2024), one of which all tokens share. */
final class Qwen2Moe {
  /** The names of {@link TensorNames#LLAMA_EXPERTS}, with a shared expert and its router. */
  static final TensorNames NAMES =
      TensorNames.LLAMA_EXPERTS.with(
          Map.of(
              LayerRole.SHARED_ROUTER, "mlp.shared_expert_gate.weight",
              LayerRole.SHARED_GATE, "mlp.shared_expert.gate_proj.weight",
              LayerRole.SHARED_UP, "mlp.shared_expert.up_proj.weight",
              LayerRole.SHARED_DOWN, "mlp.shared_expert.down_proj.weight"));

  static final Architecture FAMILY =
      Architecture.named("Qwen2MoeForCausalLM", "qwen2_moe")
          .names(NAMES)
          .mixture(
              Mixture.Keys.of("moe_intermediate_size", "num_experts", "num_local_experts")
                  .normalisedByConfig(false)
                  .shared(config -> config.requiredPositive("shared_expert_intermediate_size"))
                  .everyStep())
          .attentionBiases(Biases.ALWAYS, Biases.NEVER)
          .window(Qwen2Moe::window)
          .slidingLayers(Qwen2Moe::slides)
          .defaultPositions(32768)
          .gguf(GgufFamily.named("qwen2moe").squareOutput().head(GgufFamily.Head.OWN))
          .build();

  private Qwen2Moe() {}

  /** Configs without windows may have a window of 0. */
  private static int window(JsonFields config) {
    return config.booleanOr("use_sliding_window", false)
        ? config.positiveOr("sliding_window", 4096)
        : 0;
  }

  private static boolean slides(JsonFields config, int layer) {
    return layer % 2 == 0 && layer < config.countOr("max_window_layers", 28);
  }
}
