package dev.laco.cli;

import dev.laco.heal.HealEvent;
import dev.laco.report.TrainingMeasurement;
import dev.laco.report.TrainingStart;

/** What people see of the training of a pruned model. */
final class HealLines {
  private HealLines() {}

  /** A line for an event; none for a step, which the bar shows, and for what is kept. */
  static void say(Console console, HealEvent event) {
    switch (event) {
      case HealEvent.Started started -> {
        TrainingStart training = started.training();
        console.line(
            "heal",
            "%s of layers %d to %d, on %,d tokens of %s in %,d steps, loss %s, learning rate %.2g",
            training.trained(),
            training.firstLayer(),
            training.firstLayer() + training.layers() - 1,
            training.tokens(),
            training.text(),
            training.steps(),
            training.loss(),
            training.rate());
      }
      case HealEvent.HeldOutMeasured held -> {
        TrainingMeasurement measurement = held.measurement();
        console.line(
            "held out",
            "%,d tokens: divergence %.4f, nll %.4f",
            measurement.tokens(),
            measurement.divergence(),
            measurement.nll());
      }
      case HealEvent.Resumed resumed ->
          console.line(
              "heal",
              "goes on behind step %,d of %,d, learning rate %.2g",
              resumed.step(),
              resumed.training().steps(),
              resumed.training().rate());
      case HealEvent.Stepped _, HealEvent.BetterModel _ -> {}
    }
  }
}
