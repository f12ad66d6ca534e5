package dev.laco.model;

import dev.laco.model.Architecture.Biases;
import dev.laco.model.Architecture.QueryKeyNorm;
import dev.laco.model.GgufFamily.Positions;
import dev.laco.model.RopeParameters.Rotates;
import java.util.Map;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/**
 * Qwen3.5 (Qwen Team 2026): three of four layers have linear attention, the others a softmax with
 * gates on the outputs of heads.
 */
final class Qwen35 {
  static final Architecture FAMILY =
      named("Qwen3_5ForCausalLM", "qwen3_5_text")
          .names(TensorNames.LLAMA.with(LinearAttention.NAMES).with(LinearAttention.PROJECTIONS))
          .defaultKeyValueHeads(4)
          .gguf(gguf("qwen35", true).positions(Positions.IN_TURN, 11, 11, 10))
          .build();

  /** What is added to squared lengths of queries and keys of linear attention. */
  private static final double EPS_OF_KEYS = 1e-6;

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

  /**
   * Files of families of this kind.
   *
   * @param tiled as {@link GgufFamily#linearAttention} takes it
   */
  static GgufFamily gguf(String name, boolean tiled) {
    return GgufFamily.named(name)
        .names(Map.of(LayerRole.FEED_FORWARD_INPUT_NORM, "post_attention_norm.weight"))
        .linearAttention(tiled)
        .refuses((model, window) -> whyNot(model));
  }

  private static @Nullable String whyNot(ModelConfig model) {
    LinearAttention sizes = Objects.requireNonNull(model.linearAttention());
    if (sizes.key() != sizes.value()) {
      return "linear attention whose keys and values differ in width";
    }
    if (model.rmsNormEps() != EPS_OF_KEYS) {
      return "linear attention beside an rms_norm_eps of "
          + model.rmsNormEps()
          + " (llama.cpp takes that epsilon for lengths of queries and keys, too, the model "
          + EPS_OF_KEYS
          + ")";
    }
    return model.queryKeyValueBias() ? "a bias of queries, keys and values" : null;
  }

  /** All but each {@code full_attention_interval}-th layer. */
  private static boolean isLinear(JsonFields config, int layer) {
    return (layer + 1) % config.positiveOr("full_attention_interval", 4) != 0;
  }
}
