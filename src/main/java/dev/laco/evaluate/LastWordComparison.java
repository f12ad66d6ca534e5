package dev.laco.evaluate;

import dev.laco.report.LastWord;
import java.nio.file.Path;

/**
 * What a pruned model lost against the dense one at predicting the last words of the same passages.
 *
 * @param pruned the pruned model's folder
 * @param lastWord how often the pruned model knows the last word
 * @param shares the shares of both models, passage by passage
 */
public record LastWordComparison(Path pruned, LastWord lastWord, PairedComparison shares) {
  /**
   * Compares two models.
   *
   * @param dense of each passage, whether the dense model knows its last word
   * @param known the same of the pruned model
   */
  static LastWordComparison of(boolean[] dense, Path pruned, boolean[] known) {
    return new LastWordComparison(
        pruned, LastWord.of(known), PairedComparison.ofShares(metric(dense), metric(known), 0));
  }

  private static Metric metric(boolean[] known) {
    double[] items = new double[known.length];
    for (int i = 0; i < known.length; i++) {
      items[i] = known[i] ? 1 : 0;
    }
    return new Metric(Metric.ACCURACY, items);
  }
}
