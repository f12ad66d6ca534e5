package dev.laco.model;

import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.laco.model.Architecture.Biases;
import dev.laco.model.Architecture.NormKind;
import dev.laco.model.Architecture.ParallelNorms;
import dev.laco.model.Architecture.QueryKeyNorm;
import java.util.Set;

/**
 * Command-R (Cohere 2024): attention and feed-forward network in parallel behind one layer norm
 * without bias, rotation of neighbours, and a factor on logits.
 */
final class Cohere {
  private static final String HEAD_NORMS = "use_qk_norm";

  static final Architecture FAMILY =
      Architecture.named("CohereForCausalLM", "cohere")
          .attentionBiases(Biases.BY_CONFIG, Biases.BY_CONFIG)
          .norms(NormKind.LAYER, "layer_norm_eps")
          .defaultEps(1e-5)
          .queryKeyNorm(
              QueryKeyNorm.EACH_HEAD_BY_OWN_WEIGHTS, config -> config.booleanOr(HEAD_NORMS, false))
          .parallel(ParallelNorms.ONE, config -> true)
          .rotaryPairs(RotaryPairs.NEIGHBOURS)
          .rotation((reader, slides) -> reader.read(500_000))
          .logits(Cohere::logits)
          .tiedByDefault()
          .defaultPositions(8192)
          .gguf(
              GgufFamily.named("command-r")
                  .squareOutput()
                  .head(GgufFamily.Head.TIED)
                  .config(Cohere::fromGguf))
          .build();

  private Cohere() {}

  private static void fromGguf(ObjectNode config, Set<String> tensors) {
    config.put(HEAD_NORMS, tensors.contains("blk.0.attn_q_norm.weight"));
  }

  static LogitSpec logits(JsonFields config) {
    return new LogitSpec(config.positiveNumberOr("logit_scale", 0.0625), 0);
  }
}
