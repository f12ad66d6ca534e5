package dev.laco.training;

import dev.laco.report.TrainingMeasurement;
import dev.laco.report.TrainingStep;
import java.util.ArrayList;
import java.util.List;

/** Notes the steps of a training. */
public class NotedSteps implements Distillation.Listener {
  private final List<TrainingStep> steps = new ArrayList<>();

  /** The steps so far. */
  public List<TrainingStep> steps() {
    return steps;
  }

  @Override
  public void stepped(TrainingStep step) {
    steps.add(step);
  }

  @Override
  public void measured(TrainingMeasurement measurement) {}
}
