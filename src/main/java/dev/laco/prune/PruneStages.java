package dev.laco.prune;

import dev.laco.JobProgress;
import dev.laco.Model;
import dev.laco.apply.PlanApplier;
import dev.laco.backend.Backend;
import dev.laco.fit.FittedChoice;
import dev.laco.fit.HeldOutChoice;
import dev.laco.run.EvaluationText;
import dev.laco.run.JobEstimate;
import dev.laco.run.ModelJob;

/** The stages of a prune, by the names that {@link PruneJob#progress} has for them. */
public final class PruneStages {
  /** Candidates are scored. */
  public static final String SEARCH = "search";

  /** The best models are compared once more, of which none is fitted. */
  static final String CHOICE = FittedChoice.choiceStage("");

  /** The checkpoint is written. */
  public static final String WRITE = "write";

  /** The similarity of the pruned model is measured. */
  static final String SIMILARITY = "similarity";

  /** The perplexity of the original is measured. */
  static final String DENSE = ModelJob.DENSE;

  /** The perplexity of the pruned model is measured. */
  static final String PRUNED = "perplexity, pruned";

  private PruneStages() {}

  /**
   * Expects the stages of a job, each for the seconds that it is estimated to take.
   *
   * @param given whether a given plan is gone on from in place of a search
   * @param writes whether the result is written
   */
  static void expect(
      JobProgress progress,
      Model model,
      Backend backend,
      SearchChoice search,
      PruneTexts texts,
      boolean given,
      boolean writes) {
    JobEstimate estimate = new JobEstimate(model, backend);
    int depth = model.config().numHiddenLayers();
    int target = search.depthSought(model);
    int tokens = texts.sequences().size();
    if (!given) {
      progress.expect(
          SEARCH, estimate.search(search.models(), search.target(), search.objective(), tokens));
    }
    if (texts.fit() != null && search.fit() != null) {
      estimate.expectFit(progress, "", search.fit(), search.triesNeighbours(), texts.fit(), target);
    }
    if (texts.choice() != null) {
      progress.expect(
          CHOICE,
          estimate.search(HeldOutChoice.MOST, target, search.objective(), texts.choice().tokens()));
    }
    progress.expect(SIMILARITY, estimate.pass(tokens, depth + target));
    EvaluationText evaluation = texts.evaluation();
    if (evaluation != null) {
      progress.expect(DENSE, estimate.pass(evaluation.chunks(), depth));
      progress.expect(PRUNED, estimate.pass(evaluation.chunks(), target));
    }
    if (writes) {
      progress.expect(WRITE, PlanApplier.estimatedSeconds(model.checkpoint().weightBytes()));
    }
  }
}
