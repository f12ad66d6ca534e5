package dev.laco.model;

import dev.laco.model.Architecture.Biases;
import java.util.Map;

/**
 * InternLM 2 and 2.5 (Cai et al. 2024, arXiv 2403.17297): a Llama with names of its own, and one
 * matrix of queries, keys and values with the rows of each key/value head together.
 */
final class InternLm2 {
  static final Architecture FAMILY =
      Architecture.named("InternLM2ForCausalLM", "internlm2")
          .names(
              new TensorNames(
                  "model.layers.",
                  "model.tok_embeddings.weight",
                  "model.norm.weight",
                  "output.weight",
                  Map.ofEntries(
                      Map.entry(LayerRole.ATTENTION_INPUT_NORM, "attention_norm.weight"),
                      Map.entry(LayerRole.QUERY_KEY_VALUE, "attention.wqkv.weight"),
                      Map.entry(LayerRole.QUERY_KEY_VALUE_BIAS, "attention.wqkv.bias"),
                      Map.entry(LayerRole.OUTPUT, "attention.wo.weight"),
                      Map.entry(LayerRole.OUTPUT_BIAS, "attention.wo.bias"),
                      Map.entry(LayerRole.FEED_FORWARD_INPUT_NORM, "ffn_norm.weight"),
                      Map.entry(LayerRole.GATE, "feed_forward.w1.weight"),
                      Map.entry(LayerRole.UP, "feed_forward.w3.weight"),
                      Map.entry(LayerRole.DOWN, "feed_forward.w2.weight")),
                  Map.of()))
          .attentionBiases(Biases.BY_CONFIG, Biases.BY_CONFIG)
          .biasKey("bias", true)
          .defaultPositions(2048)
          .gguf(
              GgufFamily.named("internlm2")
                  .rowsInterleaved()
                  .squareOutput()
                  .head(GgufFamily.Head.OWN))
          .build();

  private InternLm2() {}
}
