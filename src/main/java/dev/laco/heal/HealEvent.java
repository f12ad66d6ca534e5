package dev.laco.heal;

import dev.laco.JobEvent;
import dev.laco.report.TrainingMeasurement;
import dev.laco.report.TrainingStep;

/** An event of a heal, beside those that every job has. */
public sealed interface HealEvent extends JobEvent {
  /**
   * The training begins.
   *
   * @param text names what is learnt from, for people
   * @param tokens on which the model is trained
   * @param steps of the optimizer
   * @param firstLayer the first layer that is trained, counted from 0
   * @param layers number of layers that are trained
   * @param parameters that are trained
   * @param rate the largest learning rate
   */
  record Started(
      String text, long tokens, int steps, int firstLayer, int layers, long parameters, double rate)
      implements HealEvent {}

  /** A step was taken. */
  record Stepped(TrainingStep step) implements HealEvent {}

  /** The held-out part of the text was measured. */
  record HeldOutMeasured(TrainingMeasurement measurement) implements HealEvent {}
}
