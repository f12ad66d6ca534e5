package dev.laco.model;

import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.laco.model.Architecture.Biases;
import dev.laco.model.Architecture.NormKind;
import dev.laco.model.Architecture.ParallelNorms;
import dev.laco.model.RopeParameters.Rotates;
import java.util.Set;

/**
 * StableLM (Stability AI 2023): layer norms and the rotation of a quarter of each head; in some
 * models attention and feed-forward network are parallel.
 */
final class StableLm {
  private static final String PARALLEL = "use_parallel_residual";

  static final Architecture FAMILY =
      Architecture.named("StableLmForCausalLM", "stablelm")
          .attentionBiases(Biases.BY_CONFIG, Biases.NEVER)
          .biasKey("use_qkv_bias", false)
          .norms(NormKind.LAYER_WITH_BIAS, "layer_norm_eps")
          .defaultEps(1e-5)
          .parallel(ParallelNorms.ONE, config -> config.booleanOr(PARALLEL, false))
          // Norms of queries and keys: each head's is a tensor of its own.
          .without("qk_layernorm")
          .rotates(Rotates.shareOf("partial_rotary_factor", 0.25))
          .defaultPositions(4096)
          .gguf(
              GgufFamily.named("stablelm")
                  .squareOutput()
                  .head(GgufFamily.Head.OWN)
                  .saysParallel()
                  .config(StableLm::fromGguf))
          .build();

  private StableLm() {}

  /** llama.cpp computes in parallel where the second norm is missing, whatever metadata say. */
  private static void fromGguf(ObjectNode config, Set<String> tensors) {
    config.put(PARALLEL, !tensors.contains("blk.0.ffn_norm.weight"));
  }
}
