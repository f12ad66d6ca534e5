package dev.laco.model;

import java.util.Map;

/**
 * The gated short convolution of LFM2 (Liquid AI 2025, arXiv 2511.23404) in the place of attention.
 * Three projections of the layer's input, {@code b}, {@code c} and {@code x}, have its width; the
 * output projection takes {@code c * convolve(b * x)}, where the causal convolution sums the latest
 * tokens by weights of each column.
 *
 * @param width columns of each projection
 * @param kernel tokens that the convolution sums
 */
public record ShortConvolution(int width, int kernel) {
  private static final String INPUT = "conv.in_proj.weight";

  /** The names of its tensors in checkpoints; the three projections are rows of one tensor. */
  static final Map<LayerRole, String> NAMES =
      Map.of(
          LayerRole.CONVOLUTION_GATE, INPUT,
          LayerRole.CONVOLUTION_OUTPUT_GATE, INPUT,
          LayerRole.CONVOLUTION_INPUT, INPUT,
          LayerRole.CONVOLUTION, "conv.conv.weight");

  /** The name of its output projection, which has the role of attention's. */
  static final String OUTPUT = "conv.out_proj.weight";

  /** Multiplications and additions of a token, by gates and by the weights of the convolution. */
  public long operations() {
    return (2L * kernel + 2) * width;
  }

  /**
   * Reads the sizes of a config.
   *
   * @throws dev.laco.BadInputException if a field is wrong
   */
  static ShortConvolution read(JsonFields config) {
    return new ShortConvolution(
        config.requiredPositive("hidden_size"), config.positiveOr("conv_L_cache", 3));
  }
}
