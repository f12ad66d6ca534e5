package dev.laco.cli;

import dev.laco.report.PruneReport;
import java.util.Locale;

/**
 * What the perplexity of a pruned model, relative to the original's, means for people who want to
 * use it.
 */
enum Verdict {
  /** At most a tenth more perplexity. */
  CLOSE(
      1.1,
      "good",
      "Close to the original",
      "Perplexity says little about arithmetic, long contexts and rare knowledge, which suffer first: measure the tasks that"
          + " matter to you before you use the model."),
  /** At most half as much again. */
  WEAKER(
      1.5,
      "fair",
      "Weaker than the original",
      "The model still predicts text of this kind. Measure the tasks that matter to you before you use it, or train it for a"
          + " short time."),
  /** At most twice the perplexity. */
  MUCH_WEAKER(
      2,
      "fair",
      "Much weaker than the original",
      "Not for use as it is: a start for training, or a sign that fewer layers should go."),
  /** More than that. */
  DAMAGED(
      Double.POSITIVE_INFINITY,
      "bad",
      "Damaged",
      "Not for use as it is. Leave more layers, or train the model.");

  private final double most;
  private final String tone;
  private final String word;
  private final String advice;

  Verdict(double most, String tone, String word, String advice) {
    this.most = most;
    this.tone = tone;
    this.word = word;
    this.advice = advice;
  }

  /** The verdict on perplexities; NaN is damage. */
  static Verdict of(double dense, double pruned) {
    for (Verdict verdict : values()) {
      if (pruned <= verdict.most * dense) {
        return verdict;
      }
    }
    return DAMAGED;
  }

  /** The verdict on a pruned model. */
  static Verdict of(PruneReport.Measured measured) {
    return of(measured.dense().perplexity(), measured.pruned().perplexity());
  }

  /** {@code good}, {@code fair} or {@code bad}, for the style. */
  String tone() {
    return tone;
  }

  /** The number of a terminal's colour: green, yellow or red. */
  int colour() {
    return switch (tone) {
      case "good" -> 32;
      case "fair" -> 33;
      default -> 31;
    };
  }

  /** The verdict in a few words. */
  String word() {
    return word;
  }

  /** The verdict within a sentence. */
  String lowercase() {
    return word.toLowerCase(Locale.ROOT);
  }

  /** What it means for use. */
  String advice() {
    return advice;
  }
}
