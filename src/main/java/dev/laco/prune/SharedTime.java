package dev.laco.prune;

import dev.laco.JobProgress;
import dev.laco.Model;
import dev.laco.backend.Backend;
import dev.laco.collapse.FitRule;
import dev.laco.collapse.MergeRule;
import dev.laco.fit.FittedChoice;
import dev.laco.heal.HealStage;
import dev.laco.run.JobEstimate;
import dev.laco.run.MemoryPlan;
import dev.laco.text.FitText;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.function.Function;

/**
 * How a prune shares the time that it may take among its stages: the largest fit is taken that
 * leaves a third of the time to train. The largest is by the best rule, on as many tokens as the
 * text has.
 *
 * @param seconds that the whole job may take
 * @param model that is pruned
 * @param backend whose rate of products was measured when it was opened
 * @param texts read for a fit
 * @param given whether a given plan is gone on from in place of a search
 * @param writes whether the result is written
 */
record SharedTime(
    double seconds, Model model, Backend backend, PruneTexts texts, boolean given, boolean writes) {
  /** The share of the time that training gets at least. */
  private static final double TRAINING = 1.0 / 3;

  /** The share of the time that a search may take. */
  private static final double SEARCH = 0.2;

  /** Numbers of tokens of a fit are tried in steps of so many. */
  private static final int STEP = 16_384;

  /** The request with a search that ends in its share of the time; one in closed form is short. */
  PruneRequest bounded(PruneRequest request, SearchChoice search) {
    boolean bounded =
        request.search().budget() != null || search.isOneLoop() || search.blocks() != null || given;
    JobProgress estimate = estimate(search);
    double searching = estimate.expectedBeside("") - estimate.expectedBeside(PruneStages.SEARCH);
    double most = seconds * SEARCH;
    return bounded || searching <= most
        ? request
        : request.withSearch(request.search().withBudget(Math.max(1, Math.round(most)) + "s"));
  }

  /**
   * The request with a rule that leaves time to train.
   *
   * @param request with a rule, or without one where a rule is to be chosen
   * @param choice makes the search of a request
   */
  PruneRequest withRule(PruneRequest request, Function<PruneRequest, SearchChoice> choice) {
    boolean chosen = request.rule() != null && !request.rule().equals(MergeRule.AUTO);
    if (chosen || choice.apply(request).fit() == null) {
      return request;
    }
    List<String> rules =
        new ArrayList<>(FitRule.holding(model.config()).stream().map(FitRule::label).toList());
    rules.add(MergeRule.DROP.label());
    return rules.stream()
        .map(request::withRule)
        .filter(tried -> leavesTime(choice.apply(tried)))
        .findFirst()
        .orElseGet(() -> request.withRule(rules.getLast()));
  }

  private boolean leavesTime(SearchChoice search) {
    return estimate(search).expectedBeside(HealStage.NAME) <= seconds * (1 - TRAINING);
  }

  /** Whether a fit may take more than the usual tokens where the time allows it. */
  static boolean mayFitMore(FitRule rule, PruneTexts texts) {
    FitText usual = texts.wholeFit();
    FitText all = texts.fitSource();
    // A fit that only solves systems gains little by more.
    return rule.reconstructs() && all != null && usual != null && all.tokens() > usual.tokens();
  }

  /**
   * The text on which the chosen model is fitted: as many tokens, from the usual number on, as
   * leave time to train at the pace at which the job has come so far, and take no more memory than
   * planned.
   *
   * @param job which has come to the fit, and then expects the fit on that text
   * @param planned the memory of the whole job
   */
  FitText wholeFit(JobProgress job, SearchChoice search, MemoryPlan.Beside planned) {
    FitText usual = Objects.requireNonNull(texts.wholeFit());
    FitText all = Objects.requireNonNull(texts.fitSource());
    FitText compared = Objects.requireNonNull(texts.fit());
    FitRule rule = Objects.requireNonNull(search.fit());
    if (!mayFitMore(rule, texts)) {
      return usual;
    }
    JobEstimate estimate = new JobEstimate(model, backend);
    int target = search.depthSought(model);
    String stage = FittedChoice.fitStage("");
    for (int tokens = all.tokens(); tokens > usual.tokens(); tokens -= STEP) {
      FitText tried = all.limit(tokens);
      job.expect(stage, estimate.fit(rule, tokens, target));
      double used = job.seconds() + job.leftBeside(HealStage.NAME);
      long bytes = FittedChoice.bytes(backend, model.config(), compared, tried);
      if (used <= seconds * (1 - TRAINING) && bytes <= planned.buffers() + planned.held()) {
        return tried;
      }
    }
    job.expect(stage, estimate.fit(rule, usual.tokens(), target));
    return usual;
  }

  private JobProgress estimate(SearchChoice search) {
    JobProgress estimate = new JobProgress(JobProgress.StageListener.NONE);
    PruneStages.expect(
        estimate, model, backend, search, texts.of(search), !given, true, writes, seconds, 0);
    return estimate;
  }
}
