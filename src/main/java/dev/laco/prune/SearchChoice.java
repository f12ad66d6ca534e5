package dev.laco.prune;

import dev.laco.Model;
import dev.laco.Setting;
import dev.laco.UsageException;
import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.CollapseSettings;
import dev.laco.collapse.FitRule;
import dev.laco.collapse.LayerCollapse;
import dev.laco.collapse.LayerMix;
import dev.laco.collapse.Lookahead;
import dev.laco.collapse.MergeRule;
import dev.laco.collapse.Objective;
import dev.laco.collapse.Scorer;
import dev.laco.collapse.SearchBudget;
import dev.laco.collapse.SearchResult;
import dev.laco.collapse.SpanSearch;
import dev.laco.collapse.SpanSettings;
import dev.laco.collapse.TrialListener;
import dev.laco.model.ModelConfig;
import dev.laco.prune.SearchSettings.Strategy;
import dev.laco.report.PruneSettings;
import dev.laco.run.MemoryPlan;
import dev.laco.scoring.SweepOptions;
import java.util.List;
import java.util.function.DoubleToIntFunction;
import org.jspecify.annotations.Nullable;

/**
 * The search and the fit that a request asks of a model, with every default filled in and every
 * setting checked.
 *
 * @param search the search, ready to run
 * @param settings the settings of the search, as the report tells them
 * @param rule how layers are merged, as the report tells it
 * @param candidates how many candidates one pass scores at most, as a function of the cost of a
 *     pass (see {@link dev.laco.scoring.PassCost})
 * @param mergedAtOnce most layers that one merge combines
 * @param objective the measure by which the search compares candidates, which each score has to
 *     hold
 * @param models about how many candidates the search scores
 * @param target the depth that is sought; null where a threshold is given
 * @param fit how weights are fitted afterwards; null where no weights are fitted
 * @param peers models of other people's methods that may be the result, too; null where none may
 */
public record SearchChoice(
    Search search,
    PruneSettings.Search settings,
    String rule,
    DoubleToIntFunction candidates,
    int mergedAtOnce,
    Objective objective,
    long models,
    @Nullable Integer target,
    @Nullable FitRule fit,
    @Nullable PeerModels peers) {
  /** What helps where the paper's loop cannot do what is asked for. */
  private static final String ANOTHER_SEARCH =
      "use " + Setting.of("search") + " greedy or beam with a target";

  private static final int LOOP_MERGE_LAYERS = 4;

  private static final int INTERVAL = 2;

  private static final Objective OBJECTIVE = Objective.NLL;

  /** A search, ready to run. */
  @FunctionalInterface
  public interface Search {
    /**
     * Runs the search.
     *
     * @param source the model that is searched
     * @param scorer scores the candidates
     * @param listener is told of every candidate and of every best model so far
     */
    SearchResult run(CollapsePlan.Source source, Scorer scorer, TrialListener listener);
  }

  /**
   * Whether the search is one loop with a given threshold, in which every trial counts as soon as
   * it is decided. A search for a size decides at its end which trials lead to its result.
   */
  public boolean isOneLoop() {
    return target == null;
  }

  /** Whether models are fitted, too, that differ from one of the search by one removed layer. */
  public boolean triesNeighbours() {
    return switch (settings) {
      case PruneSettings.PaperLoop _ -> true;
      case PruneSettings.BestMerges best -> best.align() == 1;
      case PruneSettings.GivenPlan _ -> false;
    };
  }

  /**
   * Whether the best models of the search are compared once more, on text that the search has not
   * seen. Where weights are fitted, the fits are compared instead.
   */
  public boolean choosesUnfitted() {
    return fit == null && settings instanceof PruneSettings.BestMerges;
  }

  /** The depth that is sought; the model's own where a threshold is given. */
  public int depthSought(Model model) {
    return target == null ? model.config().numHiddenLayers() : target;
  }

  /** The most bytes that the tensors of the fit may take. */
  public long mostNewBytes(Model model) {
    return fit == null ? 0 : MemoryPlan.newWeights(model.checkpoint(), fit, target);
  }

  /**
   * The search that is asked for.
   *
   * @throws UsageException if the settings do not fit each other or the model
   */
  public static SearchChoice of(PruneRequest request, Model model) {
    SearchSettings search = request.search();
    ModelConfig config = model.config();
    Double threshold =
        request.goal() instanceof Goal.Threshold given ? Double.valueOf(given.similarity()) : null;
    Strategy how =
        search.strategy() != null
            ? search.strategy()
            : threshold != null ? Strategy.LACO : Strategy.BEAM;
    if (threshold != null && how != Strategy.LACO) {
      throw Setting.of("search")
          .refuse(
              how.label(), " looks for a size: ", "give a target, not " + Setting.of("threshold"));
    }
    if (threshold != null && search.budget() != null) {
      throw new UsageException(
          Setting.of("searchBudget")
              + " bounds a search for a size, not "
              + Setting.of("threshold"));
    }
    Integer target = threshold == null ? request.goal().depth(model) : null;
    return target == null || how == Strategy.LACO
        ? loop(search, request.rule(), config, threshold, target)
        : spans(search, request.rule(), config, how, target);
  }

  /** The search and the fit of a request that names nothing but a size. */
  public static SearchChoice byDefault(ModelConfig config, int target) {
    return spans(SearchSettings.DEFAULT, null, config, Strategy.BEAM, target);
  }

  /**
   * The paper's loop to a size, with a rule and default settings.
   *
   * @throws UsageException if the rule does not hold for the model
   */
  public static SearchChoice paper(ModelConfig config, int target, MergeRule rule) {
    return loop(SearchSettings.DEFAULT, rule.label(), config, null, target);
  }

  /**
   * No search: the layers are those of a given plan, and weights are fitted unless the plan has
   * fitted ones or the rule is none that fits.
   *
   * @throws UsageException if the rule fits weights and those of the plan are fitted already
   */
  static SearchChoice goOnFrom(GivenPlan given, @Nullable String rule, ModelConfig config) {
    CollapsePlan plan = given.plan();
    boolean fits = rule == null ? plan.tensors() == null : isFit(rule);
    if (fits && plan.tensors() != null) {
      throw Setting.of("rule")
          .refuse(
              String.valueOf(rule),
              ": the weights of " + given.file() + " are fitted already: ",
              "leave " + Setting.of("rule") + " out");
    }
    FitRule named = rule == null ? null : FitRule.named(rule);
    FitRule fit = !fits ? null : named == null ? FitRule.best(config) : holding(named, config);
    return new SearchChoice(
        (source, scorer, listener) -> SearchResult.known(plan),
        new PruneSettings.GivenPlan(given.file()),
        rule == null ? MergeRule.AUTO : rule,
        passCost -> 1,
        plan.layers().stream().mapToInt(LayerMix::sources).max().orElseThrow(),
        OBJECTIVE,
        0,
        plan.depth(),
        fit,
        null);
  }

  /** Whether a rule fits weights; a name that is no rule's is an error. */
  private static boolean isFit(String name) {
    if (name.equals(MergeRule.AUTO) || FitRule.named(name) != null) {
      return true;
    }
    MergeRule.parse(name);
    return false;
  }

  private static SearchChoice loop(
      SearchSettings search,
      @Nullable String rule,
      ModelConfig config,
      @Nullable Double threshold,
      @Nullable Integer target) {
    int depth = config.numHiddenLayers();
    if (search.objective() != null && search.objective() != Objective.COSINE) {
      throw Setting.of("objective")
          .refuse(
              search.objective().optionValue(),
              ": the paper's loop goes by cosine; ",
              ANOTHER_SEARCH);
    }
    if (MergeRule.AUTO.equals(rule)) {
      throw Setting.of("rule")
          .refuse(MergeRule.AUTO, ": the paper's loop has one rule; ", ANOTHER_SEARCH);
    }
    if (search.align() != null) {
      throw Setting.of("align")
          .refuse(
              search.align(),
              " is of greedy and beam search, not the paper's loop: ",
              ANOTHER_SEARCH);
    }
    FitRule fit = rule == null ? null : holding(FitRule.named(rule), config);
    MergeRule mergeRule =
        holding(
            rule == null ? MergeRule.REPLACE : fit != null ? MergeRule.DROP : merging(rule),
            config);
    CollapseSettings settings =
        new CollapseSettings(
            mergeLayers(search, depth),
            search.interval() != null ? search.interval() : INTERVAL,
            lowest(search, depth),
            highest(search, depth),
            mergeRule,
            search.norms() != null ? search.norms() : mergeRule.defaultNorms());
    settings.check(depth);
    Lookahead ahead =
        search.lookahead() == null
            ? Lookahead.upTo(SweepOptions.CANDIDATES)
            : Lookahead.parse(search.lookahead());
    SearchBudget bound = bound(search);
    return new SearchChoice(
        (source, scorer, listener) -> {
          LayerCollapse loop = new LayerCollapse(settings, source, scorer, ahead);
          return target == null
              ? loop.run(requireThreshold(threshold), listener)
              : loop.reach(target, bound, listener);
        },
        new PruneSettings.PaperLoop(
            settings.mergeLayers(),
            settings.interval(),
            settings.lowest(),
            settings.highest(),
            settings.norms(),
            target,
            search.budget()),
        fit != null ? fit.label() : mergeRule.label(),
        passCost -> ahead.most(passCost, settings.bases()),
        mergeRule.mergedAtOnce(settings.mergeLayers() - 1),
        Objective.COSINE,
        // A search for the threshold of a size repeats the loop, mostly with known scores.
        target == null ? settings.bases() : 4L * settings.bases(),
        target,
        fit,
        null);
  }

  private static double requireThreshold(@Nullable Double threshold) {
    if (threshold == null) {
      throw new IllegalStateException("neither a threshold nor a target");
    }
    return threshold;
  }

  private static SearchChoice spans(
      SearchSettings search, @Nullable String rule, ModelConfig config, Strategy how, int target) {
    int depth = config.numHiddenLayers();
    if (search.interval() != null) {
      throw ofTheLoop("interval", search.interval());
    }
    if (search.lookahead() != null) {
      throw ofTheLoop("lookahead", search.lookahead());
    }
    Objective objective = search.objective() != null ? search.objective() : OBJECTIVE;
    String ruleName = rule == null ? MergeRule.AUTO : rule;
    int align = search.align() != null ? search.align() : 1;
    FitRule fit =
        ruleName.equals(MergeRule.AUTO)
            ? FitRule.best(config)
            : holding(FitRule.named(ruleName), config);
    SpanSettings settings =
        new SpanSettings(
            // Larger merges are made of the smallest ones, of which each is chosen by itself.
            search.mergeLayers() != null ? search.mergeLayers() : align + 1,
            align,
            lowest(search, depth),
            highest(search, depth),
            rules(ruleName, fit, config),
            search.norms(),
            objective,
            how == Strategy.GREEDY ? 1 : SpanSettings.beamWidth(depth, depth - target),
            fit != null);
    settings.check(depth);
    requireAligned(align, depth, target);
    SearchBudget bound = bound(search);
    return new SearchChoice(
        (source, scorer, listener) ->
            new SpanSearch(settings, source, scorer).reach(target, bound, listener),
        new PruneSettings.BestMerges(
            settings.beamWidth(),
            settings.mergeLayers(),
            settings.align(),
            settings.lowest(),
            settings.highest(),
            search.norms(),
            target,
            search.budget(),
            objective),
        ruleName,
        passCost -> SweepOptions.CANDIDATES,
        settings.rules().stream()
            .mapToInt(any -> any.mergedAtOnce(settings.mergeLayers() - 1))
            .max()
            .orElseThrow(),
        objective,
        settings.models(depth, target),
        target,
        fit,
        settings.rules().contains(MergeRule.DROP)
            ? new PeerModels(
                // The default spares layers that nobody asked to be spared.
                search.lowest() != null ? search.lowest() : 0, settings.highest(), align)
            : null);
  }

  private static void requireAligned(int align, int depth, int target) {
    int excess = (depth - target) % align;
    if (excess == 0) {
      return;
    }
    int more = target + excess;
    int fewer = more - align;
    throw Setting.of("align")
        .refuse(
            align,
            " does not lead from " + depth + " layers to " + target + ": ",
            "ask for " + more + (fewer > 0 ? " or " + fewer : "") + " layers");
  }

  private static UsageException ofTheLoop(String setting, Object value) {
    return Setting.of(setting)
        .refuse(
            value,
            " is of the paper's loop: ",
            "add " + Setting.of("search") + " laco, or leave it out");
  }

  /** The rules of merging that a search tries; before a fit layers are removed. */
  private static List<MergeRule> rules(String name, @Nullable FitRule fit, ModelConfig config) {
    if (name.equals(MergeRule.AUTO)) {
      return config.whyNoMerge() == null ? MergeRule.auto() : List.of(MergeRule.DROP);
    }
    return List.of(fit != null ? MergeRule.DROP : holding(merging(name), config));
  }

  /** A rule that fits, if it holds for the model. */
  private static @Nullable FitRule holding(@Nullable FitRule rule, ModelConfig config) {
    String why = rule == null ? null : rule.whyNot(config);
    if (rule != null && why != null) {
      throw doesNotHold(rule.label(), config, why, "leave " + Setting.of("rule") + " out");
    }
    return rule;
  }

  /** A rule that merges, if it holds for the model. */
  private static MergeRule holding(MergeRule rule, ModelConfig config) {
    if (rule.kind() != MergeRule.Kind.DROP && config.whyNoMerge() != null) {
      throw doesNotHold(
          rule.label(),
          config,
          config.whyNoMerge(),
          "use " + Setting.of("rule") + " " + MergeRule.DROP.label());
    }
    return rule;
  }

  private static UsageException doesNotHold(
      String rule, ModelConfig config, String reason, String remedy) {
    return Setting.of("rule")
        .refuse(
            rule,
            " does not hold for this " + config.architecture().className() + ": " + reason + ": ",
            remedy);
  }

  private static MergeRule merging(String name) {
    try {
      return MergeRule.parse(name);
    } catch (UsageException e) {
      throw Setting.of("rule")
          .refuse(
              name,
              MergeRule.labels()
                  + "; "
                  + String.join(", ", FitRule.labels())
                  + "; or, with a target, "
                  + MergeRule.AUTO);
    }
  }

  private static SearchBudget bound(SearchSettings search) {
    return search.budget() != null ? SearchBudget.parse(search.budget()) : SearchBudget.UNLIMITED;
  }

  private static int mergeLayers(SearchSettings search, int depth) {
    return search.mergeLayers() != null ? search.mergeLayers() : Math.min(LOOP_MERGE_LAYERS, depth);
  }

  private static int highest(SearchSettings search, int depth) {
    return search.highest() != null ? search.highest() : depth;
  }

  private static int lowest(SearchSettings search, int depth) {
    return search.lowest() != null
        ? search.lowest()
        : Math.min(1, Math.max(0, highest(search, depth) - mergeLayers(search, depth)));
  }
}
