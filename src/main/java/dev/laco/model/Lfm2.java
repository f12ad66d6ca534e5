package dev.laco.model;

import com.fasterxml.jackson.databind.JsonNode;
import dev.laco.model.Architecture.NormKind;
import dev.laco.model.Architecture.QueryKeyNorm;
import java.util.Map;
import java.util.Objects;
import java.util.stream.StreamSupport;
import org.jspecify.annotations.Nullable;

/**
 * LFM2 and LFM2.5 (Liquid AI 2025, arXiv 2511.23404): most layers have a {@link ShortConvolution},
 * the others attention with norms of queries and keys.
 */
final class Lfm2 {
  private static final String ATTENTION_LAYERS = "full_attn_idxs";
  private static final String TIED = "tie_embedding";
  private static final String ROUNDS = "block_auto_adjust_ff_dim";

  static final TensorNames NAMES =
      TensorNames.LLAMA
          .renamed(name -> name.replace("model.norm.", "model.embedding_norm."))
          .with(
              Map.of(
                  LayerRole.ATTENTION_INPUT_NORM, "operator_norm.weight",
                  LayerRole.OUTPUT, "self_attn.out_proj.weight",
                  LayerRole.QUERY_NORM, "self_attn.q_layernorm.weight",
                  LayerRole.KEY_NORM, "self_attn.k_layernorm.weight",
                  LayerRole.FEED_FORWARD_INPUT_NORM, "ffn_norm.weight",
                  LayerRole.GATE, "feed_forward.w1.weight",
                  LayerRole.UP, "feed_forward.w3.weight",
                  LayerRole.DOWN, "feed_forward.w2.weight"))
          .with(ShortConvolution.NAMES);

  static final Architecture FAMILY =
      named("Lfm2ForCausalLM", "lfm2")
          .names(NAMES)
          .channels(Lfm2::channels)
          .check(Lfm2::check)
          .gguf(gguf("lfm2").config((config, tensors) -> config.put(ROUNDS, false)))
          .build();

  private Lfm2() {}

  /** The parts that families of this kind have in common. */
  static Architecture.Builder named(String className, String modelType) {
    return Architecture.named(className, modelType)
        .shortConvolution(Lfm2::hasConvolution)
        .queryKeyNorm(QueryKeyNorm.EACH_HEAD)
        .norms(NormKind.RMS, "norm_eps")
        .defaultEps(1e-5)
        .tiedByDefault()
        .activation(config -> Activation.SILU)
        .defaultKeyValueHeads(8)
        .rotation((reader, slides) -> reader.read(1_000_000))
        .defaultPositions(128_000)
        .without("conv_bias");
  }

  /** Files of families of this kind. */
  static GgufFamily gguf(String name) {
    return GgufFamily.named(name)
        .convolutions()
        .finalNorm("token_embd_norm.weight")
        .squareOutput()
        .refuses((model, window) -> whyNot(model));
  }

  /** All layers but those that the config lists; no layer where it has no list. */
  private static boolean hasConvolution(JsonFields config, int layer) {
    JsonNode attention = config.node().path(ATTENTION_LAYERS);
    return attention.isArray()
        && StreamSupport.stream(attention.spliterator(), false)
            .noneMatch(index -> index.isInt() && index.intValue() == layer);
  }

  /** The width in the config, two thirds of which are rounded up where the config says so. */
  private static int channels(JsonFields config) {
    int width =
        config
            .positive("block_ff_dim")
            .orElseGet(() -> config.requiredPositive("intermediate_size"));
    if (!config.booleanOr(ROUNDS, true)) {
      return width;
    }
    long twoThirds = 2L * width / 3;
    int least = (int) (config.positiveNumberOr("block_ffn_dim_multiplier", 1) * twoThirds);
    int step = config.positiveOr("block_multiple_of", 256);
    return Math.ceilDiv(least, step) * step;
  }

  private static @Nullable String whyNot(ModelConfig model) {
    if (Objects.requireNonNull(model.convolution()).kernel() < 2) {
      return "a convolution of one token";
    }
    // llama.cpp reads neither from the metadata.
    Mixture mixture = model.mixture();
    return mixture != null && (!mixture.router().normalised() || mixture.router().factor() != 1)
        ? "a mixture whose shares do not sum to 1"
        : null;
  }

  static void check(JsonFields config) {
    if (!config.booleanOr(TIED, true)) {
      throw config.error(TIED, "true, which alone is supported");
    }
  }
}
