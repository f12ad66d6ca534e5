package dev.laco.prune;

import dev.laco.JobProgress;
import dev.laco.apply.PlanTensors;
import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.Objective;
import dev.laco.collapse.Score;
import dev.laco.collapse.Trial;
import dev.laco.collapse.TrialListener;
import dev.laco.fit.FittedChoice;
import dev.laco.model.NewWeights;
import dev.laco.report.FitReport;
import java.util.Locale;
import java.util.function.Consumer;

/**
 * Turns what a search and a fit tell their listeners into events of a prune.
 *
 * @param to is told the events
 */
record PruneTelling(Consumer<PruneEvent> to) implements FittedChoice.Listener {
  /**
   * A listener of a search.
   *
   * @param stage the stage of the search, which is told how much of it is done
   * @param objective the measure by which candidates are compared
   */
  TrialListener ofSearch(JobProgress.Stage stage, Objective objective) {
    return new TrialListener() {
      @Override
      public void onTrial(Trial trial, double share) {
        to.accept(new PruneEvent.Tried(trial));
        stage.updateShare(share);
      }

      @Override
      public void onProgress(double share) {
        stage.updateShare(share);
      }

      @Override
      public void onBest(CollapsePlan plan, Score score) {
        to.accept(new PruneEvent.BetterModel(plan, new PlanTensors(NewWeights.NONE), score));
        stage.note(
            String.format(
                Locale.ROOT,
                "%d layers, %s %.4f",
                plan.depth(),
                objective.optionValue(),
                objective.measured(score)));
      }
    };
  }

  @Override
  public void compared(FitReport.Contender contender) {
    to.accept(new PruneEvent.Compared(contender));
  }

  @Override
  public void better(CollapsePlan plan) {
    to.accept(new PruneEvent.BetterModel(plan, new PlanTensors(NewWeights.NONE), null));
  }

  @Override
  public void fitted(long done, long total) {
    to.accept(new PruneEvent.Fitted(done, total));
  }
}
