package dev.laco.model;

import dev.laco.model.Architecture.Biases;
import dev.laco.model.RopeParameters.Rotates;
import java.util.Map;

/**
 * GLM-4 (GLM Team 2024, arXiv 2406.12793) in the layout of transformers: one matrix of gate and up
 * projections, biases of queries, keys and values, and rotation of neighbours in one half of a
 * head.
 */
final class Glm {
  private static final String GATE_UP = "mlp.gate_up_proj.weight";

  static final TensorNames NAMES =
      TensorNames.LLAMA.with(Map.of(LayerRole.GATE, GATE_UP, LayerRole.UP, GATE_UP));

  static final Architecture FAMILY =
      named("GlmForCausalLM", "glm")
          .names(NAMES)
          .gguf(GgufFamily.named("chatglm").gateWithUp().squareOutput())
          .build();

  private Glm() {}

  /** A family with GLM's attention. */
  static Architecture.Builder named(String className, String modelType) {
    return Architecture.named(className, modelType)
        .attentionBiases(Biases.BY_CONFIG, Biases.NEVER)
        .biasKey("attention_bias", true)
        .rotates(Rotates.shareOf("partial_rotary_factor", 0.5))
        .rotaryPairs(RotaryPairs.NEIGHBOURS)
        .defaultEps(1.5625e-7)
        .defaultHeadDim(128)
        .defaultPositions(131072);
  }
}
