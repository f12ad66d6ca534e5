package dev.laco.model;

import dev.laco.model.Architecture.Biases;
import java.util.Map;

/**
 * VaultGemma (Google 2025, arXiv 2510.15001): a Gemma 2 without norms behind attention and
 * feed-forward network.
 */
final class VaultGemma {
  static final Architecture FAMILY =
      Architecture.named("VaultGemmaForCausalLM", "vaultgemma")
          .attentionBiases(Biases.BY_CONFIG, Biases.BY_CONFIG)
          .norms(
              Map.of(
                  LayerRole.ATTENTION_INPUT_NORM, "input_layernorm.weight",
                  LayerRole.FEED_FORWARD_INPUT_NORM, "pre_feedforward_layernorm.weight"))
          .normOffset(1)
          .embeddingScale(Gemma::embeddingScale)
          .activation(Gemma2::activation)
          .attentionScores(config -> Gemma2.attentionScores(config, 50))
          .logits(config -> Gemma2.logits(config, 30))
          .window(Gemma2::window)
          .slidingLayers((config, layer) -> layer % 2 == 0)
          .tiedByDefault()
          .defaultKeyValueHeads(4)
          .defaultHeadDim(256)
          .defaultPositions(8192)
          .build();

  private VaultGemma() {}
}
