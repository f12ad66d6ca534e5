package dev.laco.model;

import dev.laco.BadInputException;
import dev.laco.Legible;

/**
 * Rotary position embedding settings (Su et al. 2021), as {@code config.json} gives them under
 * {@code rope_parameters}, or under {@code rope_scaling} and {@code rope_theta}.
 *
 * @param theta base of the frequencies
 * @param scaling how frequencies are changed for contexts longer than those of the training
 */
public record RopeParameters(double theta, Scaling scaling) {

  /** A way to stretch the context. */
  public sealed interface Scaling {}

  /** No scaling. */
  public record Default() implements Scaling {}

  /** Position interpolation (Chen et al. 2023): all frequencies divided by {@code factor}. */
  public record Linear(double factor) implements Scaling {}

  /** Dynamic NTK: theta grows with the length of the sequence beyond {@code originalPositions}. */
  public record Dynamic(double factor, int originalPositions) implements Scaling {}

  /**
   * Llama 3.1 (Grattafiori et al. 2024, as transformers computes it): frequencies of long
   * wavelengths are divided by {@code factor}, those of short ones are kept, and those between are
   * interpolated.
   */
  public record Llama3(
      double factor, double lowFreqFactor, double highFreqFactor, int originalPositions)
      implements Scaling {}

  /**
   * YaRN (Peng et al. 2023).
   *
   * @param attentionFactor factor on cosines and sines
   * @param truncate whether the correction range is rounded to whole dimensions
   */
  public record Yarn(
      double factor,
      double attentionFactor,
      double betaFast,
      double betaSlow,
      boolean truncate,
      int originalPositions)
      implements Scaling {}

  /** Reads the settings from either place of a config. */
  static RopeParameters parse(JsonFields config, int maxPositionEmbeddings) {
    String key = config.has("rope_parameters") ? "rope_parameters" : "rope_scaling";
    if (!config.has(key)) {
      return new RopeParameters(
          positiveTheta(config, config.numberOr("rope_theta", 10000.0)), new Default());
    }
    JsonFields rope = new JsonFields(config.file() + ": " + key, config.node().get(key));
    double theta =
        positiveTheta(config, rope.numberOr("rope_theta", config.numberOr("rope_theta", 10000.0)));
    String type = rope.stringOr("rope_type", rope.stringOr("type", "default"));
    if (rope.numberOr("partial_rotary_factor", config.numberOr("partial_rotary_factor", 1.0))
        != 1.0) {
      throw rope.error("partial_rotary_factor", "1.0, the only value this architecture has");
    }
    int original = rope.positiveOr("original_max_position_embeddings", maxPositionEmbeddings);
    Scaling scaling =
        switch (type) {
          case "default" -> new Default();
          case "linear" -> new Linear(factor(rope));
          case "dynamic" -> new Dynamic(factor(rope), maxPositionEmbeddings);
          case "llama3" -> llama3(rope, original);
          case "yarn" -> yarn(rope, original);
          default ->
              throw new BadInputException(
                  rope.file()
                      + ": rope_type \""
                      + Legible.excerpt(type)
                      + "\" is not supported; default, linear, dynamic, llama3 and yarn are");
        };
    return new RopeParameters(theta, scaling);
  }

  private static double positiveTheta(JsonFields config, double theta) {
    if (!(theta > 0)) {
      throw config.error("rope_theta", "a number above 0");
    }
    return theta;
  }

  private static double factor(JsonFields rope) {
    double factor = rope.requiredNumber("factor");
    if (!(factor > 0)) {
      throw rope.error("factor", "a number above 0");
    }
    return factor;
  }

  private static Llama3 llama3(JsonFields rope, int original) {
    double low = rope.requiredNumber("low_freq_factor");
    double high = rope.requiredNumber("high_freq_factor");
    if (!(low > 0) || !(high > low)) {
      throw rope.error("high_freq_factor", "a number above low_freq_factor, which is above 0");
    }
    return new Llama3(factor(rope), low, high, original);
  }

  private static Yarn yarn(JsonFields rope, int original) {
    double factor = factor(rope);
    double mscale = rope.numberOr("mscale", 0);
    double mscaleAllDim = rope.numberOr("mscale_all_dim", 0);
    double attention =
        mscale != 0 && mscaleAllDim != 0
            ? yarnScale(factor, mscale) / yarnScale(factor, mscaleAllDim)
            : yarnScale(factor, 1);
    return new Yarn(
        factor,
        rope.numberOr("attention_factor", attention),
        rope.numberOr("beta_fast", 32),
        rope.numberOr("beta_slow", 1),
        rope.booleanOr("truncate", true),
        original);
  }

  private static double yarnScale(double factor, double mscale) {
    return factor <= 1 ? 1 : 0.1 * mscale * Math.log(factor) + 1;
  }
}
