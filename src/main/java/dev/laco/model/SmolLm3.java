package dev.laco.model;

import com.fasterxml.jackson.databind.JsonNode;
import dev.laco.model.Architecture.Biases;

/** SmolLM3 (Hugging Face 2025): every fourth layer does not rotate queries and keys. */
final class SmolLm3 {
  static final Architecture FAMILY =
      Architecture.named("SmolLM3ForCausalLM", "smollm3")
          .attentionBiases(Biases.BY_CONFIG, Biases.BY_CONFIG)
          .feedForwardBiases(Biases.BY_CONFIG)
          .rotatedLayers(SmolLm3::rotates)
          .rotation((reader, slides) -> reader.read(2_000_000))
          .window(Qwen2::window)
          .slidingLayers((config, layer) -> !rotates(config, layer))
          .tiedByDefault()
          .defaultPositions(32768)
          .gguf(
              GgufFamily.named("smollm3")
                  .rowsInterleaved()
                  .layerRotation(turn -> (turn.layer() + 1) % 4 == 0 ? null : turn.main()))
          .build();

  private SmolLm3() {}

  private static boolean rotates(JsonFields config, int layer) {
    JsonNode listed = config.node().path(LayerAttentions.ROTATED).path(layer);
    return listed.isInt()
        ? listed.intValue() == 1
        : (layer + 1) % config.positiveOr("no_rope_layer_interval", 4) != 0;
  }
}
