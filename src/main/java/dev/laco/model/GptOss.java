package dev.laco.model;

import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.laco.model.Architecture.Biases;
import java.util.Map;
import java.util.Set;

/**
 * gpt-oss (OpenAI 2025): a mixture in every layer, whose experts have biases and a clamped gate;
 * attention with sinks, and with a window in every second layer.
 */
final class GptOss {
  private static final double THETA = 150_000;

  static final Architecture FAMILY =
      Architecture.named("GptOssForCausalLM", "gpt_oss")
          .names(
              TensorNames.LLAMA
                  .with(
                      Map.of(
                          LayerRole.SINKS, "self_attn.sinks",
                          LayerRole.ROUTER, "mlp.router.weight",
                          LayerRole.ROUTER_BIAS, "mlp.router.bias"))
                  .withExperts(
                      Map.of(
                          LayerRole.GATE_UP_TRANSPOSED, "mlp.experts.gate_up_proj",
                          LayerRole.GATE_UP_BIAS, "mlp.experts.gate_up_proj_bias",
                          LayerRole.DOWN_TRANSPOSED, "mlp.experts.down_proj",
                          LayerRole.DOWN_BIAS, "mlp.experts.down_proj_bias")))
          .attentionBiases(Biases.BY_CONFIG, Biases.BY_CONFIG)
          .biasKey("attention_bias", true)
          .defaultEps(1e-5)
          .defaultHeadDim(64)
          .defaultPositions(131072)
          .window(config -> config.positiveOr("sliding_window", 128))
          .slidingLayers((config, layer) -> layer % 2 == 0)
          .rotation((reader, slides) -> rotation(reader))
          .mixture(Mixture.Keys.of("intermediate_size", "num_local_experts").clamped())
          .gguf(
              GgufFamily.named("gpt-oss")
                  .names(Map.of(LayerRole.FEED_FORWARD_INPUT_NORM, "post_attention_norm.weight"))
                  .head(GgufFamily.Head.OWN)
                  .biases(GgufFamily.Biases.REQUIRED)
                  .windows(2)
                  .needsWindow()
                  .oneRotation()
                  .yarnIsRounded()
                  .sharesOfChosen()
                  .config(GptOss::fromGguf))
          .vllmSliding(layer -> layer % 2 == 0)
          .build();

  private GptOss() {}

  /** The range of YaRN is not rounded in any published model, and files do not say it. */
  private static void fromGguf(ObjectNode config, Set<String> tensors) {
    if (config.get("rope_scaling") instanceof ObjectNode scaling) {
      scaling.put("truncate", false);
    }
  }

  private static RopeParameters rotation(RopeParameters.Reader reader) {
    JsonFields config = reader.config();
    if (!config.has("rope_parameters") && !config.has("rope_scaling")) {
      // transformers takes settings of its own then.
      throw config.error("rope_scaling", "the settings of YaRN that the model was trained with");
    }
    return reader.read(THETA);
  }
}
