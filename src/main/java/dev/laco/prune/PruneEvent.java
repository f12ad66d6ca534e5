package dev.laco.prune;

import dev.laco.JobEvent;
import dev.laco.apply.PlanTensors;
import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.Objective;
import dev.laco.collapse.Score;
import dev.laco.collapse.SearchResult;
import dev.laco.collapse.Trial;
import dev.laco.model.NewWeights;
import dev.laco.report.FitReport;
import java.nio.file.Path;
import org.jspecify.annotations.Nullable;

/**
 * What a prune tells while it goes on, beside what every job tells; in the order of the records
 * here.
 */
public sealed interface PruneEvent extends JobEvent {
  /** The texts that candidates are scored on are read. */
  record CalibrationRead(String name, int sentences, int tokens) implements PruneEvent {}

  /**
   * A search begins.
   *
   * @param oneLoop whether every trial counts as soon as it is decided, as in the paper's loop with
   *     a threshold
   */
  record SearchStarted(boolean oneLoop, Objective objective) implements PruneEvent {}

  /** A candidate was scored and decided on. */
  record Tried(Trial trial) implements PruneEvent {}

  /**
   * A better model was found: the best that would be kept if the job ended here.
   *
   * @param tensors fitted anew; none before the fit is done
   * @param score null where the model was not scored as it is
   */
  record BetterModel(CollapsePlan plan, PlanTensors tensors, @Nullable Score score)
      implements PruneEvent {
    /** A model of which nothing is fitted yet. */
    static BetterModel of(CollapsePlan plan) {
      return new BetterModel(plan, new PlanTensors(NewWeights.NONE), null);
    }
  }

  /** The search is over. */
  record Searched(SearchResult result, boolean oneLoop, Objective objective)
      implements PruneEvent {}

  /** A given plan is gone on from in place of a search. */
  record PlanGiven(Path file, CollapsePlan plan) implements PruneEvent {}

  /** A model was measured on the documents that are held out of every fit, to choose among them. */
  record Compared(FitReport.Contender contender) implements PruneEvent {}

  /**
   * Layers of the chosen model are fitted.
   *
   * @param done of the work
   * @param total work
   */
  record Fitted(long done, long total) implements PruneEvent {}
}
