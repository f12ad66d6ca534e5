package dev.laco.prune;

import dev.laco.JobProgress;
import dev.laco.Model;
import dev.laco.backend.Backend;
import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.FitRule;
import dev.laco.collapse.MergeRule;
import dev.laco.fit.FittedChoice;
import dev.laco.fit.WholeText;
import dev.laco.heal.HealStage;
import dev.laco.run.JobEstimate;
import dev.laco.run.MemoryPlan;
import dev.laco.text.FitText;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.function.Function;
import java.util.function.IntToDoubleFunction;

/**
 * How a prune shares the time that it may take among its stages: the largest fit is taken that
 * leaves a share of the time to train. The largest is by the best rule, on as many tokens as the
 * text has. Before a quicker rule is taken, fewer tokens than usual are (docs/experiments/time.md,
 * "A short time").
 *
 * @param request of the prune; without a time the usual tokens are fitted to
 * @param model that is pruned
 * @param backend whose rate of products was measured when it was opened
 * @param texts read for a fit
 * @param writes whether the result is written
 */
record SharedTime(
    PruneRequest request, Model model, Backend backend, PruneTexts texts, boolean writes) {
  /** The share of the time that training gets at least. */
  private static final double TRAINING = 1.0 / 3;

  /** The same behind a fit on more tokens than usual. */
  private static final double TRAINING_BEHIND_MORE = 1.0 / 2;

  /** The share of the time that a search may take. */
  private static final double SEARCH = 0.2;

  /** Numbers of tokens of a fit are tried in steps of this part of the usual tokens. */
  private static final int STEPS = 16;

  /** The steps of the smallest fit that is tried before a quicker rule is taken. */
  private static final int LEAST_STEPS = 1;

  /** The same of a rule that trains layers. */
  private static final int LEAST_STEPS_TRAINED = 8;

  /** The fewest tokens that the time decides on: with fewer there may be none to hold out. */
  private static final int LEAST_TOKENS = 4096;

  /** Seconds that the whole job may take. */
  private double seconds() {
    return Objects.requireNonNull(request.within());
  }

  /** A request with a search that ends in its share of the time; one in closed form is short. */
  PruneRequest bounded(PruneRequest tried, SearchChoice search) {
    boolean bounded =
        tried.search().budget() != null
            || search.isOneLoop()
            || search.blocks() != null
            || request.fromPlan() != null;
    JobProgress estimate = estimate(search, texts.wholeFitTokens());
    double searching = estimate.expectedBeside("") - estimate.expectedBeside(PruneStages.SEARCH);
    double most = seconds() * SEARCH;
    return bounded || searching <= most
        ? tried
        : tried.withSearch(tried.search().withBudget(Math.max(1, Math.round(most)) + "s"));
  }

  /**
   * A request with a rule that leaves time to train, or with the quickest one where none does.
   * Where a search in closed form was asked for, only rules are tried for which it chooses layers.
   *
   * @param tried with a rule, or without one where a rule is to be chosen
   * @param choice makes the search of a request
   */
  PruneRequest withRule(PruneRequest tried, Function<PruneRequest, SearchChoice> choice) {
    boolean chosen = tried.rule() != null && !tried.rule().equals(MergeRule.AUTO);
    if (chosen || choice.apply(tried).fit() == null) {
      return tried;
    }
    boolean closedForm = tried.search().strategy() == SearchSettings.Strategy.BLOCKS;
    List<String> rules =
        new ArrayList<>(
            FitRule.holding(model.config()).stream()
                .filter(SharedTime::suitsTraining)
                .filter(rule -> !closedForm || SearchChoice.closedForm(rule))
                .map(FitRule::label)
                .toList());
    if (!closedForm) {
      rules.add(MergeRule.DROP.label());
    }
    return rules.stream()
        .map(tried::withRule)
        .filter(
            ruled -> {
              SearchChoice search = choice.apply(ruled);
              FitRule rule = search.fit();
              int tokens = rule == null ? 0 : leastTokens(rule);
              JobProgress estimate = estimate(search, tokens);
              return leavesTime(tokens, beside(estimate));
            })
        .findFirst()
        .orElseGet(() -> tried.withRule(rules.getLast()));
  }

  /**
   * Whether a rule is worth its time in front of a training. One that solves for all layers behind
   * a gap, without training them, is worth less than the training in the same time.
   */
  private static boolean suitsTraining(FitRule rule) {
    return !rule.later() || rule.reconstructs();
  }

  /** The seconds of a job beside its training, at the pace at which it has come so far. */
  private static double beside(JobProgress job) {
    return job.seconds() + job.leftBeside(HealStage.NAME);
  }

  /**
   * Whether a job leaves time to train.
   *
   * @param tokens of the fit
   * @param beside seconds of the job without the training
   */
  private boolean leavesTime(int tokens, double beside) {
    double training = tokens > texts.wholeFitTokens() ? TRAINING_BEHIND_MORE : TRAINING;
    return beside <= seconds() * (1 - training);
  }

  /** Whether the time decides on how many tokens a model is fitted. */
  static boolean decidesTokens(PruneRequest request) {
    return request.within() != null && request.fit().tokens() == null;
  }

  private int step() {
    return Math.max(1, texts.wholeFitTokens() / STEPS);
  }

  private int leastTokens(FitRule rule) {
    int steps = rule.reconstructs() ? LEAST_STEPS_TRAINED : LEAST_STEPS;
    return decidesTokens(request)
        ? Math.min(texts.wholeFitTokens(), Math.max(LEAST_TOKENS, steps * step()))
        : texts.wholeFitTokens();
  }

  private int mostTokens(FitRule rule) {
    // A rule that only solves systems gains little by more than the usual tokens.
    return rule.reconstructs()
        ? Objects.requireNonNull(texts.fitSource()).tokens()
        : texts.wholeFitTokens();
  }

  /** The tokens on which the chosen model is expected to be fitted, before a search. */
  int expectedTokens(SearchChoice search) {
    FitRule rule = search.fit();
    if (rule == null || !decidesTokens(request)) {
      return texts.wholeFitTokens();
    }
    return tokens(
        estimate(search, texts.wholeFitTokens()),
        rule,
        mostTokens(rule),
        tokens -> fitSeconds(search, tokens));
  }

  /** The seconds that the fit of the chosen model is expected to take, before a search. */
  double fitSeconds(SearchChoice search) {
    return fitSeconds(search, expectedTokens(search));
  }

  private double fitSeconds(SearchChoice search, int tokens) {
    FitRule rule = search.fit();
    return rule == null
        ? 0
        : new JobEstimate(model, backend)
            .fit(rule, tokens, search.depthSought(model), texts.trains());
  }

  /**
   * The fit of the chosen model. The text is as many tokens as leave time to train at the pace at
   * which the job has come so far, and take no more memory than planned. Layers are fitted until
   * one more would not leave that time.
   *
   * @param job which has come to the fit, and then expects the fit on that text
   * @param planned the memory of the whole job
   */
  FittedChoice.Whole wholeFit(JobProgress job, SearchChoice search, MemoryPlan.Beside planned) {
    return new FittedChoice.Whole() {
      // Of the fit that has begun.
      private int tokens;

      @Override
      public WholeText text(CollapsePlan plan) {
        WholeText text = wholeFit(job, search, plan, planned);
        tokens = text.layers().tokens();
        return text;
      }

      @Override
      public boolean fitsMore(double seconds) {
        String fit = FittedChoice.fitStage("");
        return request.within() == null
            || leavesTime(tokens, job.seconds() + seconds + job.leftBeside(fit, HealStage.NAME));
      }
    };
  }

  private WholeText wholeFit(
      JobProgress job, SearchChoice search, CollapsePlan plan, MemoryPlan.Beside planned) {
    FitRule rule = Objects.requireNonNull(search.fit());
    JobEstimate estimate = new JobEstimate(model, backend);
    if (!decidesTokens(request)) {
      WholeText whole = Objects.requireNonNull(texts.wholeText(rule));
      int tokens = whole.layers().tokens();
      job.expect(FittedChoice.fitStage(""), estimate.fit(rule, tokens, plan, texts.trains()));
      return whole;
    }
    FitText all = Objects.requireNonNull(texts.fitSource());
    FitText compared = Objects.requireNonNull(texts.fit());
    int most = mostTokens(rule);
    while (most > texts.wholeFitTokens()
        && FittedChoice.bytes(backend, model.config(), compared, wholeText(all, most, rule))
            > planned.buffers() + planned.held()) {
      most = Math.max(texts.wholeFitTokens(), most - step());
    }
    int tokens = tokens(job, rule, most, some -> estimate.fit(rule, some, plan, texts.trains()));
    return wholeText(all, tokens, rule);
  }

  private WholeText wholeText(FitText all, int tokens, FitRule rule) {
    return WholeText.of(all, tokens, rule, texts.trains());
  }

  /**
   * The most tokens whose fit leaves time to train; the job then expects that fit.
   *
   * @param fit seconds of a fit on so many tokens
   */
  private int tokens(JobProgress job, FitRule rule, int most, IntToDoubleFunction fit) {
    String stage = FittedChoice.fitStage("");
    int least = leastTokens(rule);
    int tokens = most;
    job.expect(stage, fit.applyAsDouble(tokens));
    while (!leavesTime(tokens, beside(job)) && tokens > least) {
      tokens = Math.max(least, tokens - step());
      job.expect(stage, fit.applyAsDouble(tokens));
    }
    return tokens;
  }

  private JobProgress estimate(SearchChoice search, int fitTokens) {
    JobProgress estimate = new JobProgress(JobProgress.StageListener.NONE);
    new ExpectedStages(model, backend, search, texts.of(search))
        .expect(estimate, request.fromPlan() == null, true, fitSeconds(search, fitTokens), writes);
    return estimate;
  }
}
