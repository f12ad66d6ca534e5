package dev.laco.model;

import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.laco.model.Architecture.QueryKeyNorm;
import dev.laco.model.Mixture.Keys;
import dev.laco.model.RopeParameters.Rotates;
import dev.laco.model.RouterSpec.Scores;
import java.util.List;
import java.util.Map;

/**
 * MiniMax-M2 (MiniMax 2025): a mixture in every layer with the router of DeepSeek-V3, norms over
 * all heads, and the rotation of one part of each head.
 */
final class MiniMaxM2 {
  private static final int HEAD_DIM = 128;

  static final Architecture FAMILY =
      Architecture.named("MiniMaxM2ForCausalLM", "minimax_m2")
          .names(
              Mixtral.NAMES.with(
                  Map.of(LayerRole.ROUTER_CORRECTION, "block_sparse_moe.e_score_correction_bias")))
          .mixture(Keys.of("intermediate_size", "num_local_experts").scores(Scores.SIGMOID))
          .queryKeyNorm(QueryKeyNorm.ALL_HEADS)
          .rotates(Rotates.by(MiniMaxM2::rotated))
          .rotation((reader, slides) -> reader.read(5_000_000))
          .defaultHeadDim(HEAD_DIM)
          .defaultKeyValueHeads(8)
          .defaultPositions(196608)
          .gguf(
              GgufFamily.named("minimax-m2")
                  .head(GgufFamily.Head.OWN)
                  .routerInMetadata()
                  .config((config, tensors) -> fromGguf(config)))
          .build();

  private MiniMaxM2() {}

  /** What metadata say of other families' routers is always the same here. */
  private static void fromGguf(ObjectNode config) {
    config.remove(
        List.of(
            "first_k_dense_replace",
            "n_shared_experts",
            "norm_topk_prob",
            "routed_scaling_factor",
            "num_nextn_predict_layers"));
  }

  /** Published configs have the number of elements that are rotated, others their share. */
  private static double rotated(JsonFields config) {
    return config.has("rotary_dim")
        ? config.requiredPositive("rotary_dim") / (double) config.positiveOr("head_dim", HEAD_DIM)
        : config.numberOr("partial_rotary_factor", 1);
  }
}
