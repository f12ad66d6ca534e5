package dev.laco.model;

import dev.laco.model.Architecture.Biases;
import dev.laco.model.Architecture.NormKind;
import dev.laco.model.Architecture.ParallelNorms;
import dev.laco.model.RopeParameters.Rotates;

/**
 * StableLM (Stability AI 2023): layer norms and the rotation of a quarter of each head; in some
 * models attention and feed-forward network are parallel.
 */
final class StableLm {
  static final Architecture FAMILY =
      Architecture.named("StableLmForCausalLM", "stablelm")
          .attentionBiases(Biases.BY_CONFIG, Biases.NEVER)
          .biasKey("use_qkv_bias", false)
          .norms(NormKind.LAYER_WITH_BIAS, "layer_norm_eps")
          .defaultEps(1e-5)
          .parallel(ParallelNorms.ONE, config -> config.booleanOr("use_parallel_residual", false))
          // Norms of queries and keys: each head's is a tensor of its own.
          .without("qk_layernorm")
          .rotates(Rotates.shareOf("partial_rotary_factor", 0.25))
          .defaultPositions(4096)
          .build();

  private StableLm() {}
}
