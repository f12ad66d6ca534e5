package dev.laco.heal;

import dev.laco.JobEvent;
import dev.laco.apply.PlanTensors;
import dev.laco.collapse.CollapsePlan;
import dev.laco.report.TrainingMeasurement;
import dev.laco.report.TrainingStart;
import dev.laco.report.TrainingStep;

/** An event of the training of a pruned model, beside those that every job has. */
public sealed interface HealEvent extends JobEvent {
  /** The training begins. */
  record Started(TrainingStart training) implements HealEvent {}

  /**
   * A training that was interrupted goes on.
   *
   * @param step that was taken last
   */
  record Resumed(TrainingStart training, int step) implements HealEvent {}

  /** A step was taken. */
  record Stepped(TrainingStep step) implements HealEvent {}

  /** The held-out part of the text was measured. */
  record HeldOutMeasured(TrainingMeasurement measurement) implements HealEvent {}

  /**
   * Better weights than all before were found, of a {@link HealJob}.
   *
   * @param plan over the pruned model, whose layers it leaves as they are
   * @param tensors the trained tensors; none while they are replaced by better ones
   */
  record BetterModel(CollapsePlan plan, PlanTensors tensors) implements HealEvent {}
}
