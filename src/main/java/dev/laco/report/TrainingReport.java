package dev.laco.report;

import java.util.List;

/**
 * What a training did.
 *
 * @param start what was trained, and on how much
 * @param steps every step of the optimizer
 * @param originalNll of the original on the held-out part of the text, nats a token
 * @param measurements of the held-out part of the text, the first before the first step
 * @param best the measurement whose weights are the result
 * @param seconds that the training took
 */
public record TrainingReport(
    TrainingStart start,
    List<TrainingStep> steps,
    double originalNll,
    List<TrainingMeasurement> measurements,
    TrainingMeasurement best,
    double seconds) {
  public TrainingReport {
    steps = List.copyOf(steps);
    measurements = List.copyOf(measurements);
  }
}
