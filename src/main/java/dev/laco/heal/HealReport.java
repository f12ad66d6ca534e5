package dev.laco.heal;

import dev.laco.report.Fidelity;
import dev.laco.report.Perplexity;
import dev.laco.report.TrainingReport;
import org.jspecify.annotations.Nullable;

/**
 * What a heal did.
 *
 * @param request what was asked for
 * @param device on which it was trained, and the type of its products
 * @param training what was trained, on what, and what it gained
 * @param quality of the model before and after; null where there is no text to measure on
 */
public record HealReport(
    HealRequest request, String device, TrainingReport training, @Nullable Quality quality) {
  /**
   * Perplexity of the original on a text, and how near the pruned model is to it.
   *
   * @param text names the text for people
   * @param dense perplexity of the original
   * @param before the pruned model as it was
   * @param after the healed model
   */
  public record Quality(String text, Perplexity dense, Fidelity before, Fidelity after) {}
}
