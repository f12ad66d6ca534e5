package dev.laco.prune;

import dev.laco.JobEvent;
import dev.laco.apply.PlanTensors;
import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.Objective;
import dev.laco.collapse.Score;
import dev.laco.collapse.SearchResult;
import dev.laco.collapse.Trial;
import dev.laco.report.FitReport;
import java.nio.file.Path;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * An event of a prune, beside those that every job has. The records stand in the order in which a
 * job tells them first.
 */
public sealed interface PruneEvent extends JobEvent {
  /**
   * The text that candidates are scored on was read.
   *
   * @param name names the text for people
   * @param sentences sentences of the text
   * @param tokens tokens of the text
   */
  record CalibrationRead(String name, int sentences, int tokens) implements PruneEvent {}

  /**
   * A search begins.
   *
   * @param oneLoop whether every trial counts as soon as it is decided, as in the paper's loop with
   *     a threshold
   * @param objective the measure by which candidates are compared
   */
  record SearchStarted(boolean oneLoop, Objective objective) implements PruneEvent {}

  /** A candidate was scored, and it was decided whether it is accepted. */
  record Tried(Trial trial) implements PruneEvent {}

  /**
   * A better model was found: the one that a job keeps which is cancelled now.
   *
   * @param plan its layers
   * @param tensors its fitted tensors; none before the fit is done
   * @param score its score; null where the model was not scored in this form
   */
  record BetterModel(CollapsePlan plan, PlanTensors tensors, @Nullable Score score)
      implements PruneEvent {}

  /**
   * The search is over.
   *
   * @param result the models that were found
   * @param oneLoop as in {@link SearchStarted}
   * @param objective as in {@link SearchStarted}
   */
  record Searched(SearchResult result, boolean oneLoop, Objective objective)
      implements PruneEvent {}

  /** There is no search: the layers are those of a given plan. */
  record PlanGiven(Path file, CollapsePlan plan) implements PruneEvent {}

  /**
   * There is neither search nor fit: the model is one that an earlier run of the same job was about
   * to train.
   *
   * @param folder in which it was kept
   * @param plan its layers
   */
  record GoesOn(Path folder, CollapsePlan plan) implements PruneEvent {}

  /**
   * What the job is about to do, of a job that trains the pruned model in the end.
   *
   * @param stages those that change the model, in their order
   */
  record StagesExpected(List<ExpectedStage> stages) implements PruneEvent {
    public StagesExpected {
      stages = List.copyOf(stages);
    }
  }

  /**
   * A stage that lies ahead.
   *
   * @param name of the stage
   * @param seconds that it is estimated to take
   * @param what it does, for people
   */
  record ExpectedStage(String name, double seconds, String what) {}

  /**
   * The job is expected to take more than ten minutes, and would take less by another rule.
   *
   * @param rule the name of the other rule
   * @param seconds that the job is estimated to take by that rule
   */
  record QuickerRule(String rule, double seconds) implements PruneEvent {}

  /** A contender was measured on the documents that are held out of every fit. */
  record Compared(FitReport.Contender contender) implements PruneEvent {}

  /**
   * Some layers of the chosen model are fitted.
   *
   * @param done the part of {@code total} that is done
   * @param total all the work of the fit, in a unit of its own
   */
  record Fitted(long done, long total) implements PruneEvent {}
}
