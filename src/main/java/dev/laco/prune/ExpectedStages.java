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
import dev.laco.text.FitText;
import java.util.Locale;
import java.util.Objects;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/**
 * What the stages of a prune are expected to take, and what they do.
 *
 * @param model that is pruned
 * @param texts of the job
 */
record ExpectedStages(Model model, Backend backend, SearchChoice search, PruneTexts texts) {
  /** Seconds of a job of which a quicker one is named. */
  private static final double LONG = 600;

  /** Seconds after which a search ends. */
  private static double mostSeconds(PruneSettings.Search settings) {
    String budget =
        switch (settings) {
          case PruneSettings.PaperLoop loop -> loop.budget();
          case PruneSettings.BestMerges best -> best.budget();
          case PruneSettings.Blocks _, PruneSettings.GivenPlan _ -> null;
        };
    return budget == null ? Double.POSITIVE_INFINITY : SearchBudget.parse(budget).seconds();
  }

  /**
   * Expects the stages of the job, each for the seconds that it is estimated to take; a training
   * for none.
   *
   * @param searches whether layers are searched for, and not given
   * @param fits whether a model is chosen and fitted, and not one of an earlier run
   * @param fitSeconds in which the chosen model is fitted
   * @param writes whether the result is written
   */
  void expect(
      JobProgress progress, boolean searches, boolean fits, double fitSeconds, boolean writes) {
    JobEstimate estimate = new JobEstimate(model, backend);
    int depth = model.config().numHiddenLayers();
    int target = search.depthSought(model);
    int tokens = texts.sequences().size();
    if (searches) {
      progress.expect(
          PruneStages.SEARCH,
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
          PruneStages.CHOICE,
          estimate.search(HeldOutChoice.MOST, target, search.objective(), texts.choice().tokens()));
    }
    HealStage heal = texts.heal();
    if (heal != null) {
      heal.expectSamples(progress, estimate, backend, model.config());
      progress.expect(HealStage.NAME, 0);
    }
    progress.expect(PruneStages.SIMILARITY, estimate.pass(tokens, depth + target));
    EvaluationText evaluation = texts.evaluation();
    if (evaluation != null) {
      progress.expect(
          PruneStages.PERPLEXITY,
          estimate.pass(evaluation.chunks(), depth) + estimate.pass(evaluation.chunks(), target));
    }
    if (!texts.prompts().isEmpty()) {
      progress.expect(
          PruneStages.SAMPLES,
          estimate.generation(texts.prompts().size(), Continuations.TOKENS, depth)
              + estimate.generation(texts.prompts().size(), Continuations.TOKENS, target));
    }
    if (writes) {
      progress.expect(
          PruneStages.WRITE, PlanApplier.estimatedSeconds(model.checkpoint().weightBytes()));
    }
  }

  /**
   * A rule by which a job would take much less time that is expected to take long; empty for a job
   * that does not, or whose rule is quick.
   *
   * @param progress which expects the stages of the job
   * @param leavesTraining whether the job is not trained where that rule is given
   */
  Optional<PruneEvent.QuickerRule> quicker(JobProgress progress, boolean leavesTraining) {
    FitText text = texts.fit();
    FitRule rule = search.fit();
    double all = progress.expectedBeside("");
    FitRule quick = FitRule.quick(model.config());
    if (text == null || rule == null || quick == null || rule.changesGapsOnly() || all < LONG) {
      return Optional.empty();
    }
    double fitting = fitSeconds(rule);
    double untrained = leavesTraining ? progress.expectedBeside(HealStage.NAME) : all;
    return Optional.of(
        new PruneEvent.QuickerRule(quick.label(), untrained - fitting + fitSeconds(quick)));
  }

  private double fitSeconds(FitRule rule) {
    JobEstimate estimate = new JobEstimate(model, backend);
    int target = search.depthSought(model);
    FitText text = Objects.requireNonNull(texts.fit());
    return estimate.choice(texts.quickFits(rule), search.mostContenders(), text, target)
        + estimate.fit(rule, text.tokens(), target, texts.trains());
  }

  /** What a stage does that changes the model, for people; null for others. */
  @Nullable String what(String stage, HealStage heal, PruneRequest request) {
    FitText fit = texts.wholeFit();
    FitRule rule = search.fit();
    if (stage.equals(PruneStages.SEARCH)) {
      return search.blocks() == null
          ? "layers whose removal costs least " + search.objective().optionValue()
          : "blocks of layers that others can make up for";
    }
    if (stage.equals(PruneStages.CHOICE)) {
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
