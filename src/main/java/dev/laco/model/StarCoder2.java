package dev.laco.model;

import dev.laco.model.Architecture.Biases;
import dev.laco.model.Architecture.NormKind;
import java.util.Map;

/**
 * StarCoder 2 (Lozhkov et al. 2024, arXiv 2402.19173): layer norms, a feed-forward network without
 * gate, biases everywhere.
 */
final class StarCoder2 {
  static final Architecture FAMILY =
      Architecture.named("Starcoder2ForCausalLM", "starcoder2")
          .names(
              TensorNames.LLAMA
                  .with(
                      Map.of(
                          LayerRole.UP, "mlp.c_fc.weight",
                          LayerRole.DOWN, "mlp.c_proj.weight",
                          LayerRole.UP_BIAS, "mlp.c_fc.bias",
                          LayerRole.DOWN_BIAS, "mlp.c_proj.bias"))
                  .without(LayerRole.GATE))
          .attentionBiases(Biases.BY_CONFIG, Biases.BY_CONFIG)
          .feedForwardBiases(Biases.BY_CONFIG)
          .biasKey("use_bias", true)
          .norms(NormKind.LAYER_WITH_BIAS, "norm_epsilon")
          .defaultEps(1e-5)
          .activation(config -> Activation.read(config, "hidden_act", Activation.GELU_TANH))
          .window(config -> config.positiveOr("sliding_window", 0))
          .tiedByDefault()
          .defaultPositions(4096)
          .gguf(
              GgufFamily.named("starcoder2")
                  .squareOutput()
                  .activation("hidden_act", Activation.GELU_TANH)
                  .biases(GgufFamily.Biases.REQUIRED)
                  .ignoresWindows(GgufFamily.WindowKey.NEVER))
          .build();

  private StarCoder2() {}
}
