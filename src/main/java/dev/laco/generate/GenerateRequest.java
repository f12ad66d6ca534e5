package dev.laco.generate;

import dev.laco.Setting;
import dev.laco.UsageException;

/**
 * What a model continues, and how.
 *
 * @param prompt the beginning
 * @param maxTokens new tokens at most
 * @param temperature of sampling; 0 for the likeliest token each time
 * @param topP the likeliest tokens that make up this probability are sampled from
 * @param seed of sampling: the same seed gives the same text
 */
public record GenerateRequest(
    String prompt, int maxTokens, double temperature, double topP, long seed) {
  /** New tokens unless told otherwise. */
  public static final int MAX_TOKENS = 100;

  /** The temperature unless told otherwise. */
  public static final double TEMPERATURE = 0.8;

  /** The probability to sample from unless told otherwise. */
  public static final double TOP_P = 0.95;

  private static final int MOST_TOKENS = 1 << 26;

  public GenerateRequest {
    if (maxTokens < 1 || maxTokens > MOST_TOKENS) {
      throw new UsageException(
          Setting.of("maxTokens") + " " + maxTokens + ": expected 1 to " + MOST_TOKENS);
    }
    if (!(temperature >= 0) || !Double.isFinite(temperature)) {
      throw new UsageException(
          Setting.of("temperature") + " " + temperature + ": expected a number of at least 0");
    }
    if (!(topP > 0 && topP <= 1)) {
      throw new UsageException(
          Setting.of("topP") + " " + topP + ": expected a number above 0, at most 1");
    }
  }

  /** A prompt, with defaults for all else. */
  public static GenerateRequest of(String prompt) {
    return new GenerateRequest(prompt, MAX_TOKENS, TEMPERATURE, TOP_P, 0);
  }

  /** The same with another bound of new tokens. */
  public GenerateRequest withMaxTokens(int most) {
    return new GenerateRequest(prompt, most, temperature, topP, seed);
  }

  /** The same with other sampling. */
  public GenerateRequest withSampling(double otherTemperature, double otherTopP, long otherSeed) {
    return new GenerateRequest(prompt, maxTokens, otherTemperature, otherTopP, otherSeed);
  }
}
