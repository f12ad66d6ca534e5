package dev.laco.heal;

import dev.laco.report.Fidelity;
import dev.laco.report.Perplexity;
import dev.laco.report.TrainingMeasurement;
import dev.laco.report.TrainingStep;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * What a heal did.
 *
 * @param request what was asked for
 * @param started what was trained, and on how much
 * @param device on which it was trained, and the type of its products
 * @param steps every step of the optimizer
 * @param measurements of the held-out part of the text, the first before the first step
 * @param best the measurement whose weights are the result
 * @param quality of the model before and after; null where there is no text to measure on
 * @param trainSeconds seconds that the training took
 */
public record HealReport(
    HealRequest request,
    HealEvent.Started started,
    String device,
    List<TrainingStep> steps,
    List<TrainingMeasurement> measurements,
    TrainingMeasurement best,
    @Nullable Quality quality,
    double trainSeconds) {
  public HealReport {
    steps = List.copyOf(steps);
    measurements = List.copyOf(measurements);
  }

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
