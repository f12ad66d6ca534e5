package dev.laco.model;

import dev.laco.model.Architecture.Biases;
import dev.laco.model.Architecture.NormKind;
import dev.laco.model.Architecture.ParallelNorms;
import dev.laco.model.Architecture.QueryKeyNorm;

/**
 * Command-R (Cohere 2024): attention and feed-forward network in parallel behind one layer norm
 * without bias, rotation of neighbours, and a factor on logits.
 */
final class Cohere {
  static final Architecture FAMILY =
      Architecture.named("CohereForCausalLM", "cohere")
          .attentionBiases(Biases.BY_CONFIG, Biases.BY_CONFIG)
          .norms(NormKind.LAYER, "layer_norm_eps")
          .defaultEps(1e-5)
          .queryKeyNorm(
              QueryKeyNorm.EACH_HEAD_BY_OWN_WEIGHTS,
              config -> config.booleanOr("use_qk_norm", false))
          .parallel(ParallelNorms.ONE, config -> true)
          .rotaryPairs(RotaryPairs.NEIGHBOURS)
          .rotation((reader, slides) -> reader.read(500_000))
          .logits(Cohere::logits)
          .tiedByDefault()
          .defaultPositions(8192)
          .build();

  private Cohere() {}

  static LogitSpec logits(JsonFields config) {
    return new LogitSpec(config.positiveNumberOr("logit_scale", 0.0625), 0);
  }
}
