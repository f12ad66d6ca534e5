package dev.laco.model;

/** The part of a layer that lets a token read the tokens before it. */
public enum TokenMixer {
  /** Attention by a softmax (Vaswani et al. 2017). */
  SOFTMAX("full_attention"),
  /** {@link LinearAttention}. */
  LINEAR_ATTENTION("linear_attention"),
  /** {@link ShortConvolution}. */
  CONVOLUTION("conv");

  private final String configName;

  TokenMixer(String configName) {
    this.configName = configName;
  }

  /** The entry of {@code layer_types} in {@code config.json} for a layer without a window. */
  String configName() {
    return configName;
  }
}
