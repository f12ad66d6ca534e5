package dev.laco.prune;

import dev.laco.JobProgress;
import dev.laco.Model;
import dev.laco.apply.PlanApplier;
import dev.laco.backend.Backend;
import dev.laco.collapse.FitRule;
import dev.laco.collapse.SearchBudget;
import dev.laco.fit.FittedChoice;
import dev.laco.fit.HeldOutChoice;
import dev.laco.heal.HealSettings;
import dev.laco.heal.HealStage;
import dev.laco.measure.Continuations;
import dev.laco.report.PruneSettings;
import dev.laco.run.EvaluationText;
import dev.laco.run.JobEstimate;
import dev.laco.run.ModelJob;
import dev.laco.text.FitText;
import java.util.Locale;
import java.util.Objects;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

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

  /** The perplexity of the original and of the pruned model is measured. */
  static final String PERPLEXITY = "perplexity";

  /** What events call the perplexity of the original. */
  static final String DENSE = ModelJob.DENSE;

  /** What events call the perplexity of the pruned model. */
  static final String PRUNED = "perplexity, pruned";

  /** Both models continue prompts. */
  static final String SAMPLES = "samples";

  /** Seconds of a job of which a quicker one is named. */
  private static final double LONG = 600;

  private PruneStages() {}

  /** Seconds after which a search ends. */
  private static double mostSeconds(PruneSettings.Search settings) {
    return settings instanceof PruneSettings.BestMerges best && best.budget() != null
        ? SearchBudget.parse(best.budget()).seconds()
        : Double.POSITIVE_INFINITY;
  }

  /**
   * Expects the stages of a job, each for the seconds that it is estimated to take.
   *
   * @param searches whether layers are searched for, and not given
   * @param fits whether a model is chosen and fitted, and not one of an earlier run
   * @param fitSeconds in which the chosen model is fitted
   * @param writes whether the result is written
   * @param within seconds that the job may take; null for no limit
   * @param trainingSeconds in which the result is trained; 0 where it is not, or within a time
   */
  static void expect(
      JobProgress progress,
      Model model,
      Backend backend,
      SearchChoice search,
      PruneTexts texts,
      boolean searches,
      boolean fits,
      double fitSeconds,
      boolean writes,
      @Nullable Double within,
      double trainingSeconds) {
    JobEstimate estimate = new JobEstimate(model, backend);
    int depth = model.config().numHiddenLayers();
    int target = search.depthSought(model);
    int tokens = texts.sequences().size();
    if (searches) {
      progress.expect(
          SEARCH,
          Math.min(mostSeconds(search.settings()), search.seconds(estimate, tokens, texts.fit())));
    }
    if (fits && texts.fit() != null && search.fit() != null) {
      progress.expect(
          FittedChoice.choiceStage(""),
          estimate.choice(
              texts.quickFits(search.fit()), search.mostContenders(), texts.fit(), target));
      progress.expect(FittedChoice.fitStage(""), fitSeconds);
    }
    if (fits && texts.choice() != null) {
      progress.expect(
          CHOICE,
          estimate.search(HeldOutChoice.MOST, target, search.objective(), texts.choice().tokens()));
    }
    HealStage heal = texts.heal();
    if (heal != null) {
      heal.expectSamples(progress, estimate, backend, model.config());
      progress.expect(HealStage.NAME, 0);
    }
    progress.expect(SIMILARITY, estimate.pass(tokens, depth + target));
    EvaluationText evaluation = texts.evaluation();
    if (evaluation != null) {
      progress.expect(
          PERPLEXITY,
          estimate.pass(evaluation.chunks(), depth) + estimate.pass(evaluation.chunks(), target));
    }
    if (!texts.prompts().isEmpty()) {
      progress.expect(
          SAMPLES,
          estimate.generation(texts.prompts().size(), Continuations.TOKENS, depth)
              + estimate.generation(texts.prompts().size(), Continuations.TOKENS, target));
    }
    if (writes) {
      progress.expect(WRITE, PlanApplier.estimatedSeconds(model.checkpoint().weightBytes()));
    }
    if (heal != null) {
      HealStage.expect(progress, trainingSeconds, within);
    }
  }

  /**
   * A rule by which a job would take much less time that is expected to take long; empty for a job
   * that does not, or whose rule is quick.
   *
   * @param progress which expects the stages of the job
   * @param leavesTraining whether the job is not trained where that rule is given
   */
  static Optional<PruneEvent.QuickerRule> quicker(
      JobProgress progress,
      JobEstimate estimate,
      Model model,
      SearchChoice search,
      PruneTexts texts,
      boolean leavesTraining) {
    FitText text = texts.fit();
    FitRule rule = search.fit();
    double all = progress.expectedBeside("");
    FitRule quick = FitRule.quick(model.config());
    if (text == null || rule == null || quick == null || rule.changesGapsOnly() || all < LONG) {
      return Optional.empty();
    }
    int target = search.depthSought(model);
    double fitting = fitSeconds(estimate, search, texts, rule, target);
    double untrained = leavesTraining ? progress.expectedBeside(HealStage.NAME) : all;
    return Optional.of(
        new PruneEvent.QuickerRule(
            quick.label(),
            untrained - fitting + fitSeconds(estimate, search, texts, quick, target)));
  }

  private static double fitSeconds(
      JobEstimate estimate, SearchChoice search, PruneTexts texts, FitRule rule, int target) {
    FitText text = Objects.requireNonNull(texts.fit());
    return estimate.choice(texts.quickFits(rule), search.mostContenders(), text, target)
        + estimate.fit(rule, text.tokens(), target, texts.trains());
  }

  /** What a stage does that changes the model, for people; null for others. */
  static @Nullable String what(
      String stage, SearchChoice search, PruneTexts texts, HealStage heal, PruneRequest request) {
    FitText fit = texts.wholeFit();
    FitRule rule = search.fit();
    if (stage.equals(SEARCH)) {
      return search.blocks() == null
          ? "layers whose removal costs least " + search.objective().optionValue()
          : "blocks of layers that others can make up for";
    }
    if (stage.equals(CHOICE)) {
      return fit == null
          ? "the best models on text that the search has not seen"
          : "quick fits of the best models";
    }
    if (rule != null && fit != null && stage.equals(FittedChoice.fitStage(""))) {
      return SharedTime.decidesTokens(request)
          ? rule.label() + " on as many tokens as leave time to train"
          : String.format(Locale.ROOT, "%s on %,d tokens", rule.label(), fit.tokens());
    }
    if (stage.equals(HealStage.NAME)) {
      boolean all = heal.settings().layers() == HealSettings.Layers.ALL;
      return (all ? "training of all layers" : "training of the layers behind the first gap")
          + (request.within() == null
              ? String.format(Locale.ROOT, " on %,d tokens", heal.wantedTokens())
              : " until the time is over");
    }
    return null;
  }
}
