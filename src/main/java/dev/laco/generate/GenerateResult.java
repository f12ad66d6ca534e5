package dev.laco.generate;

import java.util.OptionalDouble;

/**
 * How a model continued a prompt.
 *
 * @param text the text that the model added to the prompt
 * @param promptTokens tokens of the prompt
 * @param newTokens tokens of the added text
 * @param promptSeconds seconds until the first new token, which is found when the prompt is read
 * @param seconds seconds that the model ran, the prompt included
 */
public record GenerateResult(
    String text, int promptTokens, int newTokens, double promptSeconds, double seconds) {
  /**
   * New tokens a second behind the first, without the time in which the prompt is read; empty where
   * there are not two of them.
   */
  public OptionalDouble tokensPerSecond() {
    return newTokens < 2
        ? OptionalDouble.empty()
        : OptionalDouble.of((newTokens - 1) / (seconds - promptSeconds));
  }
}
