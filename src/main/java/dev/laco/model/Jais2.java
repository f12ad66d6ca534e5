package dev.laco.model;

import dev.laco.model.Architecture.Biases;
import dev.laco.model.Architecture.NormKind;

/**
 * Jais 2 (Inception and others 2025): layer norms, biases everywhere, a squared ReLU without gate.
 */
final class Jais2 {
  static final Architecture FAMILY =
      Architecture.named("Jais2ForCausalLM", "jais2")
          .names(TensorNames.LLAMA.without(LayerRole.GATE))
          .attentionBiases(Biases.BY_CONFIG, Biases.BY_CONFIG)
          .feedForwardBiases(Biases.BY_CONFIG)
          .biasByDefault()
          .norms(NormKind.LAYER_WITH_BIAS, "layer_norm_eps")
          .defaultEps(1e-5)
          .activation(config -> Activation.read(config, "hidden_act", Activation.RELU_SQUARED))
          .defaultPositions(8192)
          .gguf(
              GgufFamily.named("jais2")
                  .biases(GgufFamily.Biases.REQUIRED)
                  .activation("hidden_act", Activation.RELU_SQUARED))
          .build();

  private Jais2() {}
}
