package dev.laco.model;

import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.Map;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/**
 * Baichuan and Baichuan 2 (Yang et al. 2023, arXiv 2309.10305): one matrix of queries, keys and
 * values. The models of 13 billion parameters have ALiBi in the place of rotation, and the head of
 * Baichuan 2 has rows of length 1. No key of a config says either; see the two rules below.
 */
final class Baichuan {
  private static final String QUERY_KEY_VALUE = "self_attn.W_pack.weight";
  private static final String LENGTH = "model_max_length";
  private static final int VOCABULARY_OF_2 = 125_696;

  /** The layers at which llama.cpp rotates queries and keys in a file of Baichuan. */
  private static final int ROTATED_LAYERS = 32;

  /** The layers at which it computes ALiBi. */
  private static final int ALIBI_LAYERS = 40;

  private static final Architecture AS_LLAMA_IN_GGUF =
      parts(GgufFamily.named("llama").rowsInterleaved()).build();

  static final Architecture FAMILY =
      parts(
              GgufFamily.named("baichuan")
                  .rowsInterleaved()
                  .squareOutput()
                  .head(GgufFamily.Head.OWN)
                  .refuses(Baichuan::refusedByLlamaCpp)
                  .config(Baichuan::fromGguf))
          // With another number of layers: in a file of Llama llama.cpp rotates with any.
          .form(config -> !hasAlibi(config) && layers(config) != ROTATED_LAYERS, AS_LLAMA_IN_GGUF)
          .build();

  private Baichuan() {}

  private static Architecture.Builder parts(GgufFamily gguf) {
    return Architecture.named("BaichuanForCausalLM", "baichuan")
        .names(
            TensorNames.LLAMA.with(
                Map.of(
                    LayerRole.QUERY, QUERY_KEY_VALUE,
                    LayerRole.KEY, QUERY_KEY_VALUE,
                    LayerRole.VALUE, QUERY_KEY_VALUE)))
        .alibi(Baichuan::hasAlibi)
        .rotation(Baichuan::rotation)
        .unknownTo(Loader.VLLM)
        .unitHead(Baichuan::hasUnitHead)
        .defaultPositions(config -> config.positiveOr(LENGTH, 4096))
        .gguf(gguf);
  }

  private static int layers(JsonFields config) {
    return config.requiredPositive("num_hidden_layers");
  }

  private static @Nullable String refusedByLlamaCpp(ModelConfig model, int window) {
    return model.alibi() && model.numHiddenLayers() != ALIBI_LAYERS
        ? "ALiBi, which llama.cpp gives Baichuan at 40 layers alone,"
        : null;
  }

  private static void fromGguf(ObjectNode config, Set<String> tensors) {
    if (config.path("num_hidden_layers").intValue() == ALIBI_LAYERS) {
      config.set(LENGTH, config.remove("max_position_embeddings"));
    }
  }

  /** The code of the models with rotation reads one key, that of the models with ALiBi another. */
  private static boolean hasAlibi(JsonFields config) {
    return config.has(LENGTH) && !config.has("max_position_embeddings");
  }

  private static @Nullable RopeParameters rotation(RopeParameters.Reader reader, boolean slides) {
    return hasAlibi(reader.config()) ? null : reader.read(10_000);
  }

  private static boolean hasUnitHead(JsonFields config) {
    return config.positiveOr("vocab_size", 1) == VOCABULARY_OF_2 || config.has("z_loss_weight");
  }
}
