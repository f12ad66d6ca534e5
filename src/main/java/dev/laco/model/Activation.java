package dev.laco.model;

/** The non-linearity of a gated feed-forward network, by its Hugging Face name. */
public enum Activation {
  /** {@code x / (1 + exp(-x))}. */
  SILU("silu"),
  /** {@code x * Phi(x)}, with the exact error function. */
  GELU("gelu"),
  /** GELU's tanh approximation. */
  GELU_TANH("gelu_pytorch_tanh");

  private final String configName;

  Activation(String configName) {
    this.configName = configName;
  }

  /** The value of {@code hidden_act} in {@code config.json}. */
  public String configName() {
    return configName;
  }
}
