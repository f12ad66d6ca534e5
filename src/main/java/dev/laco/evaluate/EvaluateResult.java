package dev.laco.evaluate;

import dev.laco.report.LastWord;
import dev.laco.report.Perplexity;

/** What was measured of a model. */
public sealed interface EvaluateResult {
  /**
   * How well it predicts a text.
   *
   * @param text where the text came from, for people
   */
  record OfText(String text, Perplexity perplexity) implements EvaluateResult {}

  /**
   * How often it knows a last word.
   *
   * @param passages where the passages came from, for people
   */
  record OfPassages(String passages, LastWord lastWord) implements EvaluateResult {}
}
