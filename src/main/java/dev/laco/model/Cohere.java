package dev.laco.model;

import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.laco.model.Architecture.Biases;
import dev.laco.model.Architecture.NormKind;
import dev.laco.model.Architecture.ParallelNorms;
import dev.laco.model.Architecture.QueryKeyNorm;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/**
 * Command-R (Cohere 2024): attention and feed-forward network in parallel behind one layer norm
 * without bias, rotation of neighbours, and a factor on logits.
 */
final class Cohere {
  private static final String HEAD_NORMS = "use_qk_norm";

  /** From this number of layers on llama.cpp expects norms of queries and keys. */
  private static final int LAYERS_WITH_HEAD_NORMS = 64;

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
                  .value("logit_scale", "logit_scale", model -> model.logits().scale())
                  .refuses(Cohere::refusedByLlamaCpp)
                  .config(Cohere::fromGguf))
          .build();

  private Cohere() {}

  /** llama.cpp goes by the number of layers. */
  private static @Nullable String refusedByLlamaCpp(ModelConfig model, int window) {
    return model.queryKeyNorm() != model.numHiddenLayers() >= LAYERS_WITH_HEAD_NORMS
        ? "a Command-R with norms of queries and keys and fewer than 64 layers, or without and more,"
        : null;
  }

  private static void fromGguf(ObjectNode config, Set<String> tensors) {
    config.put(HEAD_NORMS, tensors.contains("blk.0.attn_q_norm.weight"));
  }

  static LogitSpec logits(JsonFields config) {
    return new LogitSpec(config.positiveNumberOr("logit_scale", 0.0625), 0);
  }
}
