package dev.laco.model;

import dev.laco.model.Architecture.Biases;
import dev.laco.model.Architecture.QueryKeyNorm;
import java.util.Objects;

/**
 * The text models of Gemma 3 (Gemma Team 2025, arXiv 2503.19786): Gemma 2 with norms of queries and
 * keys in the place of soft-caps, windows in five of six layers, and another rotary base there.
 */
final class Gemma3 {
  private static final double THETA = 1_000_000;
  private static final double THETA_OF_WINDOWS = 10_000;

  static final Architecture FAMILY =
      Architecture.named("Gemma3ForCausalLM", "gemma3_text")
          .attentionBiases(Biases.BY_CONFIG, Biases.BY_CONFIG)
          .norms(TensorNames.NORMS_AROUND)
          .normOffset(1)
          .queryKeyNorm(QueryKeyNorm.EACH_HEAD)
          .embeddingScale(Gemma::embeddingScale)
          .activation(Gemma2::activation)
          .attentionScores(config -> Gemma2.attentionScores(config, 0))
          .logits(config -> Gemma2.logits(config, 0))
          .window(Gemma2::window)
          .slidingLayers(
              (config, layer) -> (layer + 1) % config.positiveOr("sliding_window_pattern", 6) != 0)
          .rotation(Gemma3::rotation)
          .without("use_bidirectional_attention")
          .tiedByDefault()
          .defaultHeadDim(256)
          .defaultPositions(131072)
          .gguf(
              GgufFamily.named("gemma3")
                  .activation("hidden_activation", Activation.GELU_TANH)
                  .windows(6)
                  .windowThetaKey("rope_local_base_freq")
                  .layerRotation(Gemma3::rotationInLlamaCpp)
                  .scoresByHiddenAt(62))
          .build();

  private Gemma3() {}

  /** Layers with a window rotate without scaling, by a base of their own where one is named. */
  static RopeParameters rotationInLlamaCpp(GgufFamily.Turn turn) {
    RopeParameters main = turn.main();
    return turn.slides()
        ? new RopeParameters(
            Objects.requireNonNullElse(turn.windowTheta(), main.theta()),
            main.share(),
            new RopeParameters.Default())
        : main;
  }

  private static RopeParameters rotation(RopeParameters.Reader reader, boolean slides) {
    return slides
        ? reader
            .readOfType(LayerAttentions.SLIDING, THETA_OF_WINDOWS)
            .orElseGet(
                () ->
                    reader.plain(
                        reader.config().positiveNumberOr("rope_local_base_freq", THETA_OF_WINDOWS)))
        : reader.readOfType(LayerAttentions.FULL, THETA).orElseGet(() -> reader.read(THETA));
  }
}
