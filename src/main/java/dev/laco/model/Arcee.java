package dev.laco.model;

import dev.laco.model.Architecture.Biases;

/**
 * Arcee (Arcee AI 2025, AFM-4.5B): a Llama whose feed-forward network is a squared ReLU without
 * gate.
 */
final class Arcee {
  static final Architecture FAMILY =
      Architecture.named("ArceeForCausalLM", "arcee")
          .names(TensorNames.LLAMA.without(LayerRole.GATE))
          .attentionBiases(Biases.BY_CONFIG, Biases.BY_CONFIG)
          .feedForwardBiases(Biases.BY_CONFIG)
          .defaultEps(1e-5)
          .activation(config -> Activation.read(config, "hidden_act", Activation.RELU_SQUARED))
          .defaultPositions(4096)
          .gguf(
              GgufFamily.named("arcee")
                  .rowsInterleaved()
                  .activation("hidden_act", Activation.RELU_SQUARED))
          .build();

  private Arcee() {}
}
