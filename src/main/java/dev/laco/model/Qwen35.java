package dev.laco.model;

import dev.laco.model.Architecture.Biases;
import dev.laco.model.Architecture.QueryKeyNorm;
import dev.laco.model.RopeParameters.Rotates;

/**
 * Qwen3.5 (Qwen Team 2026): three of four layers have linear attention, the others a softmax with
 * gates on the outputs of heads.
 */
final class Qwen35 {
  static final Architecture FAMILY =
      named("Qwen3_5ForCausalLM", "qwen3_5_text")
          .names(TensorNames.LLAMA.with(LinearAttention.NAMES).with(LinearAttention.PROJECTIONS))
          .defaultKeyValueHeads(4)
          .build();

  private Qwen35() {}

  /** The parts that families of this kind have in common. */
  static Architecture.Builder named(String className, String modelType) {
    return Architecture.named(className, modelType)
        .linearAttention(new LinearAttention(16, 32, 128, 128, 4), Qwen35::isLinear)
        .gatedHeads()
        .queryKeyNorm(QueryKeyNorm.EACH_HEAD)
        .normOffset(1)
        .attentionBiases(Biases.BY_CONFIG, Biases.BY_CONFIG)
        .rotates(Rotates.shareOf("partial_rotary_factor", 0.25))
        .defaultHeadDim(256)
        .predictionModule("mtp.")
        .defaultPositions(32768);
  }

  /** All but each {@code full_attention_interval}-th layer. */
  private static boolean isLinear(JsonFields config, int layer) {
    return (layer + 1) % config.positiveOr("full_attention_interval", 4) != 0;
  }
}
