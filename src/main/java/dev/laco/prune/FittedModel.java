package dev.laco.prune;

import dev.laco.apply.PlanTensors;
import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.SearchResult;
import dev.laco.collapse.Work;
import dev.laco.report.ChoiceReport;
import dev.laco.report.FitReport;
import org.jspecify.annotations.Nullable;

/**
 * What a prune has made before it trains or measures.
 *
 * @param found what the search found
 * @param work passes, bytes and operations that the search took
 * @param plan the pruned model, which the choice may have taken in place of the search's best
 * @param tensors the tensors that were fitted
 * @param fit how; null where nothing was fitted
 * @param choice how the plan was chosen where nothing was fitted; null where it was not
 * @param searchSeconds seconds that the search took
 * @param fitSeconds seconds that choice and fit took
 */
record FittedModel(
    SearchResult found,
    Work work,
    CollapsePlan plan,
    PlanTensors tensors,
    @Nullable FitReport fit,
    @Nullable ChoiceReport choice,
    double searchSeconds,
    double fitSeconds) {
  /** Whether the model is another one than the best of the search. */
  boolean isChanged() {
    return !plan.equals(found.plan()) || !tensors.isEmpty();
  }

  /** Seconds that all of it took. */
  double seconds() {
    return searchSeconds + fitSeconds;
  }
}
