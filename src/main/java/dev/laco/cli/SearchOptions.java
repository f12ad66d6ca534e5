package dev.laco.cli;

import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.laco.UsageException;
import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.CollapseSettings;
import dev.laco.collapse.LayerCollapse;
import dev.laco.collapse.LayerMix;
import dev.laco.collapse.Lookahead;
import dev.laco.collapse.MergeRule;
import dev.laco.collapse.NormsPolicy;
import dev.laco.collapse.Objective;
import dev.laco.collapse.Scorer;
import dev.laco.collapse.SearchBudget;
import dev.laco.collapse.SearchResult;
import dev.laco.collapse.SpanSearch;
import dev.laco.collapse.SpanSettings;
import dev.laco.collapse.TrialListener;
import dev.laco.fit.FitRule;
import dev.laco.scoring.SweepOptions;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.function.DoubleToIntFunction;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.ArgGroup;
import picocli.CommandLine.Option;

/** What is searched for, and how. */
@HelpSection.In(HelpSection.SEARCH)
final class SearchOptions {
  /** What a search for a size makes as good as it can unless told otherwise. */
  static final Objective DEFAULT_OBJECTIVE = Objective.NLL;

  private static final int DEFAULT_MERGE_LAYERS = 4;

  /** Merges of two lead to larger ones, and every step is a choice. */
  private static final int SPAN_MERGE_LAYERS = 2;

  private static final int DEFAULT_INTERVAL = 2;

  @ArgGroup @Nullable Goal goal;

  @Option(
      names = "--search",
      paramLabel = "laco|greedy|beam",
      description =
          "How a size is searched for: the paper's loop with its threshold solved for, the best next merge anywhere, or"
              + " several best models at every depth. Default: beam; with --threshold it is laco.")
  @Nullable Strategy strategy;

  @Option(
      names = "--search-budget",
      paramLabel = "2m|40sweeps",
      description =
          "End a search for a size after that time (90s, 2m, 1h30m), or so many passes over the model, with the best"
              + " found. Default: none.")
  @Nullable String budget;

  @Option(
      names = "--objective",
      paramLabel = "cosine|kl|nll",
      description =
          "What greedy and beam make as good as they can on the calibration text: similarity of the last hidden states,"
              + " divergence of the next token's distribution from the original's, or its negative log-likelihood."
              + " Default: nll.")
  @Nullable Objective objective;

  @Option(
      names = "--lookahead",
      paramLabel = "K|all",
      description =
          "Candidates that the paper's loop scores in one pass: the next and those that follow if it is rejected."
              + " Changes no decision. Default: as many as pay on this device.")
  @Nullable String lookahead;

  @Option(
      names = "--merge-layers",
      paramLabel = "C",
      description =
          "Layers merged at once, base included. Default: of the paper's loop 4, or the depth if that is"
              + " less; of other searches 2.")
  @Nullable Integer mergeLayers;

  @Option(
      names = "--interval",
      paramLabel = "I",
      description =
          "Layers that the base of the paper's loop moves down after an accepted merge. Default: 2.")
  @Nullable Integer interval;

  @Option(names = "--lowest", paramLabel = "L", description = "Lowest base layer. Default: 1.")
  @Nullable Integer lowest;

  @Option(
      names = "--highest",
      paramLabel = "H",
      description =
          "Exclusive end of the layers that are merged: the loop's first base is H - C. Default: the depth.")
  @Nullable Integer highest;

  @HelpSection.In(HelpSection.RULE)
  @Option(
      names = "--rule",
      paramLabel = "RULE",
      completionCandidates = Rules.class,
      description =
          "How layers are merged, or removed and what is left fitted to the original. Default: auto; of the paper's"
              + " loop replace. The rules, and what they cost after the search: each + is dearer, refine takes about twice as"
              + " long as repair.")
  @Nullable String rule;

  @HelpSection.In(HelpSection.RULE)
  @Option(
      names = "--norms",
      paramLabel = "base|merge",
      description =
          "Norms and biases: keep the base's, or merge them like matrices. Default: the rule's.")
  @Nullable NormsPolicy norms;

  /** When the search is done: at a threshold, or at a size. */
  @HelpSection.In(HelpSection.SIZE)
  static final class Goal extends TargetSize {
    @Option(
        names = "--threshold",
        paramLabel = "T",
        description = "Accept merges of mean similarity above T, -1 to 1: the paper's loop.")
    @Nullable Double threshold;
  }

  /** The values of {@code --search}. */
  enum Strategy {
    LACO,
    GREEDY,
    BEAM;

    String optionValue() {
      return name().toLowerCase(Locale.ROOT);
    }
  }

  /** A search that only lacks the scores. */
  @FunctionalInterface
  interface Search {
    SearchResult run(CollapsePlan.Source source, Scorer scorer, TrialListener listener);
  }

  /**
   * The search that was asked for.
   *
   * @param settings what is in force, as the report tells it; {@code threshold} is null where it is
   *     only found
   * @param candidates models that are scored together where there is room, by what a pass costs
   *     beside them
   * @param mergedAtOnce layers that one merge combines at most
   * @param objective what the scores must tell of
   * @param models that are scored, about
   * @param target the depth that is sought; null where a threshold is given
   * @param fit how weights are fitted afterwards; null where they are not
   */
  record Chosen(
      Search search,
      ObjectNode settings,
      DoubleToIntFunction candidates,
      int mergedAtOnce,
      Objective objective,
      long models,
      @Nullable Integer target,
      @Nullable FitRule fit) {
    /**
     * True if what is tried depends on what was accepted before: each trial can be told at once.
     */
    boolean isOneLoop() {
      return target == null;
    }
  }

  /**
   * The search for a model, checked.
   *
   * @throws UsageException if the options do not fit each other or the model
   */
  Chosen choose(OpenModel model) {
    int depth = model.config().numHiddenLayers();
    Double threshold = threshold();
    Strategy how = strategy != null ? strategy : threshold != null ? Strategy.LACO : Strategy.BEAM;
    if (threshold != null && how != Strategy.LACO) {
      throw new UsageException(
          "--search " + how.optionValue() + " looks for a size: give a target, not --threshold");
    }
    if (threshold != null && budget != null) {
      throw new UsageException("--search-budget bounds a search for a size, not --threshold");
    }
    Integer target = threshold == null ? (goal == null ? new Goal() : goal).depth(model) : null;
    return target == null || how == Strategy.LACO
        ? loop(depth, threshold, target)
        : spans(depth, how, target);
  }

  /**
   * In place of a search: a model that is known.
   *
   * @param file where the plan was read from
   * @throws UsageException if the rule does not fit the plan
   */
  Chosen goOnFrom(Path file, CollapsePlan plan) {
    boolean fits = rule == null ? plan.tensors() == null : isFit(rule);
    if (fits && plan.tensors() != null) {
      throw new UsageException(
          "--rule " + rule + ": the weights of " + file + " are fitted already: leave --rule out");
    }
    FitRule named = rule == null ? null : FitRule.named(rule);
    FitRule fit = fits ? (named == null ? FitRule.REFINE : named) : null;
    ObjectNode json = JsonNodeFactory.instance.objectNode();
    json.put("fromPlan", file.toString());
    json.put("rule", rule == null ? MergeRule.AUTO : rule);
    return new Chosen(
        (source, scorer, listener) -> SearchResult.known(plan),
        json,
        passCost -> 1,
        plan.layers().stream().mapToInt(LayerMix::sources).max().orElseThrow(),
        DEFAULT_OBJECTIVE,
        0,
        plan.depth(),
        fit);
  }

  private static boolean isFit(String name) {
    if (name.equals(MergeRule.AUTO) || FitRule.named(name) != null) {
      return true;
    }
    MergeRule.parse(name);
    return false;
  }

  private @Nullable Double threshold() {
    Double threshold = goal == null ? null : goal.threshold;
    if (threshold != null && !(threshold >= -1 && threshold <= 1)) {
      throw new UsageException("--threshold " + threshold + ": expected -1 to 1");
    }
    return threshold;
  }

  /** What {@code prune} does where nothing but a size is asked for. */
  static Chosen byDefault(int depth, int target) {
    return new SearchOptions().spans(depth, Strategy.BEAM, target);
  }

  /** The paper's loop with a rule and otherwise its defaults. */
  static Chosen paper(int depth, int target, MergeRule rule) {
    SearchOptions options = new SearchOptions();
    options.rule = rule.label();
    return options.loop(depth, null, target);
  }

  private Chosen loop(int depth, @Nullable Double threshold, @Nullable Integer target) {
    if (objective != null && objective != Objective.COSINE) {
      throw new UsageException(
          "--objective "
              + objective.optionValue()
              + ": the paper's loop goes by cosine; use --search greedy or beam with a target");
    }
    if (MergeRule.AUTO.equals(rule)) {
      throw new UsageException(
          "--rule auto: the paper's loop has one rule; use --search greedy or beam with a target");
    }
    FitRule fit = rule == null ? null : FitRule.named(rule);
    MergeRule mergeRule =
        rule == null ? MergeRule.REPLACE : fit != null ? MergeRule.DROP : Rules.merging(rule);
    int high = highest(depth);
    CollapseSettings settings =
        new CollapseSettings(
            mergeLayers(depth),
            interval != null ? interval : DEFAULT_INTERVAL,
            lowest(depth),
            high,
            mergeRule,
            norms != null ? norms : mergeRule.defaultNorms());
    settings.check(depth);
    Lookahead ahead =
        lookahead == null ? Lookahead.upTo(SweepOptions.CANDIDATES) : Lookahead.parse(lookahead);
    ObjectNode json = JsonNodeFactory.instance.objectNode();
    json.put("mergeLayers", settings.mergeLayers());
    json.put("interval", settings.interval());
    json.put("lowest", settings.lowest());
    json.put("highest", settings.highest());
    json.put("threshold", threshold);
    json.put("rule", fit != null ? fit.label() : mergeRule.label());
    json.put("norms", settings.norms().optionValue());
    putSearch(json, Strategy.LACO, target);
    SearchBudget bound = bound();
    return new Chosen(
        (source, scorer, listener) -> {
          LayerCollapse loop = new LayerCollapse(settings, source, scorer, ahead);
          return target == null
              ? loop.run(requireThreshold(threshold), listener)
              : loop.reach(target, bound, listener);
        },
        json,
        passCost -> ahead.most(passCost, settings.bases()),
        mergeRule.mergedAtOnce(settings.mergeLayers() - 1),
        Objective.COSINE,
        // A search for a threshold repeats the loop; most of what it meets again it knows.
        target == null ? settings.bases() : 4L * settings.bases(),
        target,
        fit);
  }

  private static double requireThreshold(@Nullable Double threshold) {
    if (threshold == null) {
      throw new IllegalStateException("neither a threshold nor a target");
    }
    return threshold;
  }

  private Chosen spans(int depth, Strategy how, int target) {
    if (interval != null) {
      throw new UsageException(
          "--interval " + interval + " is of the paper's loop: add --search laco, or leave it out");
    }
    if (lookahead != null) {
      throw new UsageException(
          "--lookahead "
              + lookahead
              + " is of the paper's loop: add --search laco, or leave it out");
    }
    Objective goodness = objective != null ? objective : DEFAULT_OBJECTIVE;
    String ruleName = rule == null ? MergeRule.AUTO : rule;
    FitRule fit = ruleName.equals(MergeRule.AUTO) ? FitRule.REFINE : FitRule.named(ruleName);
    SpanSettings settings =
        new SpanSettings(
            mergeLayers != null ? mergeLayers : SPAN_MERGE_LAYERS,
            lowest(depth),
            highest(depth),
            rules(ruleName, fit),
            norms,
            goodness,
            how == Strategy.GREEDY ? 1 : SpanSettings.beamWidth(depth, depth - target),
            fit != null);
    settings.check(depth);
    ObjectNode json = JsonNodeFactory.instance.objectNode();
    json.put("mergeLayers", settings.mergeLayers());
    json.put("lowest", settings.lowest());
    json.put("highest", settings.highest());
    json.putNull("threshold");
    json.put("rule", ruleName);
    json.put("norms", norms == null ? "rule" : norms.optionValue());
    putSearch(json, how, target);
    json.put("beamWidth", settings.beamWidth());
    json.put("objective", goodness.optionValue());
    SearchBudget bound = bound();
    return new Chosen(
        (source, scorer, listener) ->
            new SpanSearch(settings, source, scorer).reach(target, bound, listener),
        json,
        passCost -> SweepOptions.CANDIDATES,
        settings.rules().stream()
            .mapToInt(any -> any.mergedAtOnce(settings.mergeLayers() - 1))
            .max()
            .orElseThrow(),
        goodness,
        settings.models(depth, target),
        target,
        fit);
  }

  /** Fitting rules fit what is left when layers are removed. */
  private static List<MergeRule> rules(String name, @Nullable FitRule fit) {
    if (name.equals(MergeRule.AUTO)) {
      return MergeRule.auto();
    }
    return List.of(fit != null ? MergeRule.DROP : Rules.merging(name));
  }

  private SearchBudget bound() {
    return budget != null ? SearchBudget.parse(budget) : SearchBudget.UNLIMITED;
  }

  private void putSearch(ObjectNode json, Strategy how, @Nullable Integer target) {
    json.put("search", how.optionValue());
    if (target != null) {
      json.put("targetLayers", target);
    }
    if (budget != null) {
      json.put("searchBudget", budget);
    }
  }

  private int mergeLayers(int depth) {
    return mergeLayers != null ? mergeLayers : Math.min(DEFAULT_MERGE_LAYERS, depth);
  }

  private int highest(int depth) {
    return highest != null ? highest : depth;
  }

  private int lowest(int depth) {
    return lowest != null ? lowest : Math.min(1, Math.max(0, highest(depth) - mergeLayers(depth)));
  }
}
