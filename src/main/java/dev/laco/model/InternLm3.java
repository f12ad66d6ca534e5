package dev.laco.model;

import dev.laco.model.Architecture.Biases;

/**
 * InternLM 3 (Shanghai AI Laboratory 2025): a Llama. Keys of biases are those of transformers; the
 * code of the first checkpoints had others.
 */
final class InternLm3 {
  static final Architecture FAMILY =
      Architecture.named("InternLM3ForCausalLM", "internlm3")
          .attentionBiases(Biases.BY_CONFIG, Biases.BY_CONFIG)
          .feedForwardBiases(Biases.BY_CONFIG)
          .without("qkv_bias")
          .without("bias")
          .defaultKeyValueHeads(2)
          .defaultHeadDim(128)
          .defaultEps(1e-5)
          .defaultPositions(32768)
          .gguf(GgufFamily.named("llama").rowsInterleaved().biases(GgufFamily.Biases.ALL))
          .build();

  private InternLm3() {}
}
