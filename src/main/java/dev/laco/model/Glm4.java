package dev.laco.model;

import java.util.Map;

/**
 * GLM-4-0414 (Z.ai 2025): GLM-4 with norms behind attention and feed-forward network, beside those
 * before them.
 */
final class Glm4 {
  static final Architecture FAMILY =
      Glm.named("Glm4ForCausalLM", "glm4")
          .names(
              Glm.NAMES.with(
                  Map.of(
                      LayerRole.ATTENTION_OUTPUT_NORM, "post_self_attn_layernorm.weight",
                      LayerRole.FEED_FORWARD_OUTPUT_NORM, "post_mlp_layernorm.weight")))
          .gguf(GgufFamily.named("glm4").gateWithUp())
          .build();

  private Glm4() {}
}
