package dev.laco.model;

import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.laco.model.Architecture.Biases;
import dev.laco.model.Architecture.NormKind;
import dev.laco.model.Architecture.ParallelNorms;
import dev.laco.model.RopeParameters.Rotates;
import java.util.Map;
import java.util.Set;

/**
 * GPT-NeoX and Pythia (Black et al. 2022, Biderman et al. 2023): layer norms, attention and
 * feed-forward network in parallel behind a norm each, one matrix of queries, keys and values, a
 * feed-forward network without gate, biases everywhere.
 */
final class GptNeoX {
  static final Architecture FAMILY =
      Architecture.named("GPTNeoXForCausalLM", "gpt_neox")
          .names(
              new TensorNames(
                  "gpt_neox.layers.",
                  "gpt_neox.embed_in.weight",
                  "gpt_neox.final_layer_norm.weight",
                  "embed_out.weight",
                  Map.ofEntries(
                      Map.entry(LayerRole.ATTENTION_INPUT_NORM, "input_layernorm.weight"),
                      Map.entry(LayerRole.ATTENTION_INPUT_NORM_BIAS, "input_layernorm.bias"),
                      Map.entry(LayerRole.QUERY_KEY_VALUE, "attention.query_key_value.weight"),
                      Map.entry(LayerRole.QUERY_KEY_VALUE_BIAS, "attention.query_key_value.bias"),
                      Map.entry(LayerRole.OUTPUT, "attention.dense.weight"),
                      Map.entry(LayerRole.OUTPUT_BIAS, "attention.dense.bias"),
                      Map.entry(
                          LayerRole.FEED_FORWARD_INPUT_NORM, "post_attention_layernorm.weight"),
                      Map.entry(
                          LayerRole.FEED_FORWARD_INPUT_NORM_BIAS, "post_attention_layernorm.bias"),
                      Map.entry(LayerRole.UP, "mlp.dense_h_to_4h.weight"),
                      Map.entry(LayerRole.UP_BIAS, "mlp.dense_h_to_4h.bias"),
                      Map.entry(LayerRole.DOWN, "mlp.dense_4h_to_h.weight"),
                      Map.entry(LayerRole.DOWN_BIAS, "mlp.dense_4h_to_h.bias")),
                  Map.of()))
          .keyValueHeads(config -> config.requiredPositive("num_attention_heads"))
          .buffers("attention.bias", "attention.masked_bias")
          .attentionBiases(Biases.BY_CONFIG, Biases.BY_CONFIG)
          .biasKey("attention_bias", true)
          .feedForwardBiases(Biases.ALWAYS)
          .norms(NormKind.LAYER_WITH_BIAS, "layer_norm_eps")
          .defaultEps(1e-5)
          .parallel(ParallelNorms.TWO, config -> config.booleanOr("use_parallel_residual", true))
          .activation(config -> Activation.read(config, "hidden_act", Activation.GELU))
          .rotates(Rotates.shareOf("rotary_pct", 0.25))
          .rotation(
              (reader, slides) ->
                  reader.read(reader.config().positiveNumberOr("rotary_emb_base", 10_000)))
          .defaultPositions(2048)
          .gguf(
              GgufFamily.named("gptneox")
                  .headsInOne()
                  .squareOutput()
                  .head(GgufFamily.Head.OWN)
                  .activation("hidden_act", Activation.GELU)
                  .biases(GgufFamily.Biases.REQUIRED)
                  .saysParallel()
                  .config(GptNeoX::fromGguf))
          .build();

  private GptNeoX() {}

  private static void fromGguf(ObjectNode config, Set<String> tensors) {
    config.set("rotary_emb_base", config.remove("rope_theta"));
    config.set("rotary_pct", config.remove("partial_rotary_factor"));
  }
}
