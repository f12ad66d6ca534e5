package dev.laco.evaluate;

import dev.laco.report.LastWord;
import dev.laco.report.Perplexity;

/** What was measured of a model. */
public sealed interface EvaluateResult {
  /**
   * How well a model predicts a text.
   *
   * @param text names the text for people
   * @param perplexity perplexity on the text
   */
  record OfText(String text, Perplexity perplexity) implements EvaluateResult {}

  /**
   * How often a model knows the last word of a passage.
   *
   * @param passages names the passages for people
   * @param lastWord how often
   */
  record OfPassages(String passages, LastWord lastWord) implements EvaluateResult {}
}
