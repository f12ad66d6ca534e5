package dev.laco.heal;

import dev.laco.JobEvent;
import dev.laco.report.TrainingMeasurement;
import dev.laco.report.TrainingStart;
import dev.laco.report.TrainingStep;

/** An event of the training of a pruned model, beside those that every job has. */
public sealed interface HealEvent extends JobEvent {
  /** The training begins. */
  record Started(TrainingStart training) implements HealEvent {}

  /** A step was taken. */
  record Stepped(TrainingStep step) implements HealEvent {}

  /** The held-out part of the text was measured. */
  record HeldOutMeasured(TrainingMeasurement measurement) implements HealEvent {}
}
