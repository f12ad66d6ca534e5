package dev.laco.model;

import java.util.Arrays;
import java.util.stream.Collectors;

/** The non-linearity of a feed-forward network, by its Hugging Face name. */
public enum Activation {
  /** {@code x / (1 + exp(-x))}. */
  SILU("silu"),
  /** {@code x * Phi(x)}, with the exact error function. */
  GELU("gelu"),
  /** GELU's tanh approximation. */
  GELU_TANH("gelu_pytorch_tanh"),
  /** {@code max(x, 0)}, whose slope at 0 is 0. */
  RELU("relu"),
  /** {@code max(x, 0)^2} (So et al. 2021, arXiv 2109.08668). */
  RELU_SQUARED("relu2"),
  /** {@code 1 / (1 + exp(-x))}. */
  SIGMOID("sigmoid"),
  /** {@code x}. */
  LINEAR("linear");

  private final String configName;

  Activation(String configName) {
    this.configName = configName;
  }

  /**
   * The activation that a config names.
   *
   * @throws dev.laco.BadInputException if the name is not one of these
   */
  static Activation read(JsonFields config, String key, Activation defaultValue) {
    String given = config.stringOr(key, defaultValue.configName);
    // Other names of the same function in transformers.
    boolean tanh = given.equals("gelu_new") || given.equals("gelu_fast");
    String name = tanh ? GELU_TANH.configName : given;
    return Arrays.stream(values())
        .filter(a -> a.configName.equals(name))
        .findFirst()
        .orElseThrow(
            () ->
                config.error(
                    key,
                    "one of "
                        + Arrays.stream(values())
                            .map(Activation::configName)
                            .collect(Collectors.joining(", "))));
  }

  /** The value of {@code hidden_act} in {@code config.json}. */
  public String configName() {
    return configName;
  }
}
