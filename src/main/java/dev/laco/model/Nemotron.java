package dev.laco.model;

import dev.laco.model.Architecture.Biases;
import dev.laco.model.Architecture.NormKind;
import dev.laco.model.RopeParameters.Rotates;

/**
 * Nemotron 3 and 4, and Minitron (Parmar et al. 2024, arXiv 2402.16819; Muralidharan et al. 2024):
 * layer norms that add 1 to their weights, the rotation of half of each head, a squared ReLU
 * without gate.
 */
final class Nemotron {
  static final Architecture FAMILY =
      Architecture.named("NemotronForCausalLM", "nemotron")
          .names(TensorNames.LLAMA.without(LayerRole.GATE))
          .attentionBiases(Biases.BY_CONFIG, Biases.BY_CONFIG)
          .feedForwardBiases(Biases.BY_CONFIG)
          .norms(NormKind.LAYER_WITH_BIAS, "norm_eps")
          .normOffset(1)
          .defaultEps(1e-5)
          .activation(config -> Activation.read(config, "hidden_act", Activation.RELU_SQUARED))
          .rotates(Rotates.shareOf("partial_rotary_factor", 0.5))
          .defaultPositions(4096)
          .gguf(
              GgufFamily.named("nemotron")
                  .squareOutput()
                  .head(GgufFamily.Head.OWN)
                  .biases(GgufFamily.Biases.ALL)
                  .activation("hidden_act", Activation.RELU_SQUARED))
          .build();

  private Nemotron() {}
}
