package dev.laco.model;

import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.laco.model.Architecture.Biases;
import dev.laco.model.Architecture.NormKind;
import dev.laco.model.Architecture.ParallelNorms;
import java.util.Map;
import java.util.Set;

/**
 * Falcon (Almazrouei et al. 2023, arXiv 2311.16867): layer norms, one matrix of queries, keys and
 * values, a feed-forward network without gate. In the models of 7 and 11 billion parameters
 * attention and feed-forward network are parallel behind one norm, in those of 40 and 180 billion
 * behind a norm each.
 */
final class Falcon {
  private static final String NEW = "new_decoder_architecture";
  private static final String SECOND_NORM_IN_GGUF = "attn_norm_2.weight";

  private static final Map<LayerRole, String> SUFFIXES =
      Map.ofEntries(
          Map.entry(LayerRole.ATTENTION_INPUT_NORM, "input_layernorm.weight"),
          Map.entry(LayerRole.ATTENTION_INPUT_NORM_BIAS, "input_layernorm.bias"),
          Map.entry(LayerRole.QUERY_KEY_VALUE, "self_attention.query_key_value.weight"),
          Map.entry(LayerRole.QUERY_KEY_VALUE_BIAS, "self_attention.query_key_value.bias"),
          Map.entry(LayerRole.OUTPUT, "self_attention.dense.weight"),
          Map.entry(LayerRole.OUTPUT_BIAS, "self_attention.dense.bias"),
          Map.entry(LayerRole.FEED_FORWARD_INPUT_NORM, "post_attention_layernorm.weight"),
          Map.entry(LayerRole.FEED_FORWARD_INPUT_NORM_BIAS, "post_attention_layernorm.bias"),
          Map.entry(LayerRole.UP, "mlp.dense_h_to_4h.weight"),
          Map.entry(LayerRole.UP_BIAS, "mlp.dense_h_to_4h.bias"),
          Map.entry(LayerRole.DOWN, "mlp.dense_4h_to_h.weight"),
          Map.entry(LayerRole.DOWN_BIAS, "mlp.dense_4h_to_h.bias"));

  private static final TensorNames NAMES =
      new TensorNames(
          "transformer.h.",
          "transformer.word_embeddings.weight",
          "transformer.ln_f.weight",
          "lm_head.weight",
          SUFFIXES,
          Map.of());

  private static final Architecture TWO_NORMS =
      parts(
              Map.of(
                  LayerRole.ATTENTION_INPUT_NORM, SECOND_NORM_IN_GGUF,
                  LayerRole.ATTENTION_INPUT_NORM_BIAS, "attn_norm_2.bias",
                  LayerRole.FEED_FORWARD_INPUT_NORM, "attn_norm.weight",
                  LayerRole.FEED_FORWARD_INPUT_NORM_BIAS, "attn_norm.bias"))
          .names(
              NAMES.with(
                  Map.of(
                      LayerRole.ATTENTION_INPUT_NORM, "ln_attn.weight",
                      LayerRole.ATTENTION_INPUT_NORM_BIAS, "ln_attn.bias",
                      LayerRole.FEED_FORWARD_INPUT_NORM, "ln_mlp.weight",
                      LayerRole.FEED_FORWARD_INPUT_NORM_BIAS, "ln_mlp.bias")))
          .parallel(ParallelNorms.TWO, config -> true)
          .build();

  static final Architecture FAMILY =
      parts(Map.of())
          .names(NAMES)
          .parallel(
              ParallelNorms.ONE,
              config -> config.booleanOr(NEW, false) || config.booleanOr("parallel_attn", true))
          .form(Falcon::hasTwoNorms, TWO_NORMS)
          .build();

  private Falcon() {}

  /**
   * What the forms have in common.
   *
   * @param normsInGguf names of norms in GGUF files, where they are not those of most families
   */
  private static Architecture.Builder parts(Map<LayerRole, String> normsInGguf) {
    return Architecture.named("FalconForCausalLM", "falcon")
        .keyValueHeads(Falcon::keyValueHeads)
        .channels(Falcon::channels)
        .attentionBiases(Biases.BY_CONFIG, Biases.BY_CONFIG)
        .feedForwardBiases(Biases.BY_CONFIG)
        .biasKey("bias", false)
        .norms(NormKind.LAYER_WITH_BIAS, "layer_norm_epsilon")
        .defaultEps(1e-5)
        // Its slopes are scaled as the products of queries and keys are.
        .without("alibi")
        .activation(config -> Activation.read(config, "activation", Activation.GELU))
        .tiedByDefault()
        .gguf(
            GgufFamily.named("falcon")
                .headsInOne()
                .names(normsInGguf)
                .squareOutput()
                .activation("activation", Activation.GELU)
                .refuses(
                    (model, window) ->
                        model.parallel()
                            ? null
                            : "a Falcon whose feed-forward network follows attention")
                .config(Falcon::fromGguf))
        .defaultPositions(2048);
  }

  private static boolean hasTwoNorms(JsonFields config) {
    return config.booleanOr(NEW, false) && config.positiveOr("num_ln_in_parallel_attn", 2) == 2;
  }

  private static int keyValueHeads(JsonFields config) {
    int heads = config.requiredPositive("num_attention_heads");
    if (config.booleanOr(NEW, false)) {
      return config.positiveOr("num_kv_heads", heads);
    }
    return config.booleanOr("multi_query", true) ? 1 : heads;
  }

  /**
   * Models with one key/value head and one norm have the old architecture. Loaders derive the width
   * of a head, and transformers ends with an error where a config names it.
   */
  private static void fromGguf(ObjectNode config, Set<String> tensors) {
    config.remove("head_dim");
    int keyValueHeads = config.remove("num_key_value_heads").intValue();
    boolean twoNorms = tensors.contains("blk.0." + SECOND_NORM_IN_GGUF);
    config.set("ffn_hidden_size", config.remove("intermediate_size"));
    config.put(NEW, twoNorms || keyValueHeads > 1);
    config.put("num_kv_heads", keyValueHeads);
    config.put("num_ln_in_parallel_attn", twoNorms ? 2 : 1);
  }

  private static int channels(JsonFields config) {
    return config.positiveOr("ffn_hidden_size", 4 * config.requiredPositive("hidden_size"));
  }
}
