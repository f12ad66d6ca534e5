package dev.laco.prune;

import dev.laco.Model;
import dev.laco.Setting;
import dev.laco.UsageException;
import dev.laco.apply.OutputFormat;
import dev.laco.apply.PlanApplier;
import dev.laco.collapse.BlockCost;
import dev.laco.collapse.BlockSearch;
import dev.laco.collapse.BlockSettings;
import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.CollapseSettings;
import dev.laco.collapse.FitRule;
import dev.laco.collapse.LayerCollapse;
import dev.laco.collapse.LayerMix;
import dev.laco.collapse.Lookahead;
import dev.laco.collapse.MergeRule;
import dev.laco.collapse.Objective;
import dev.laco.collapse.RemovalLimits;
import dev.laco.collapse.Scorer;
import dev.laco.collapse.SearchBudget;
import dev.laco.collapse.SearchResult;
import dev.laco.collapse.SpanSearch;
import dev.laco.collapse.SpanSettings;
import dev.laco.collapse.TrialListener;
import dev.laco.fit.BlockMeasure;
import dev.laco.fit.FittedChoice;
import dev.laco.model.ModelConfig;
import dev.laco.prune.SearchSettings.Strategy;
import dev.laco.report.PruneSettings;
import dev.laco.run.JobEstimate;
import dev.laco.run.MemoryPlan;
import dev.laco.scoring.SweepOptions;
import dev.laco.text.FitText;
import dev.laco.transformer.RunningModel;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.function.DoubleConsumer;
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
 * @param neighbours the limits of models that are fitted, too, and differ from one of the search by
 *     one removed layer; null where none is
 */
@SuppressWarnings("exports")
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
    @Nullable PeerModels peers,
    @Nullable RemovalLimits neighbours) {
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
     * @param listener is told of every candidate and of every best model so far
     */
    SearchResult run(Ground ground, TrialListener listener);
  }

  /**
   * What a search works on.
   *
   * @param model the model that is searched
   * @param source names the model
   * @param scorer scores the candidates
   * @param text the text that weights are fitted on after the search; null where none are
   */
  public record Ground(
      RunningModel model, CollapsePlan.Source source, Scorer scorer, @Nullable FitText text) {}

  /**
   * Whether the search is one loop with a given threshold, in which every trial counts as soon as
   * it is decided. A search for a size decides at its end which trials lead to its result.
   */
  public boolean isOneLoop() {
    return target == null;
  }

  /** The most models that are fitted on few tokens to choose the one that is fitted on all. */
  public int mostContenders() {
    return switch (settings) {
      case PruneSettings.PaperLoop _, PruneSettings.BestMerges _ ->
          FittedChoice.mostContenders(neighbours != null);
      case PruneSettings.Blocks _ -> BlockSearch.FOUND;
      case PruneSettings.GivenPlan _ -> 1;
    };
  }

  /** The blocks that a search in closed form measures; null for another search. */
  public @Nullable BlockSettings blocks() {
    return settings instanceof PruneSettings.Blocks blocks ? blocks.settings() : null;
  }

  /**
   * Whether the best models of the search are compared once more, on text that the search has not
   * seen. Where weights are fitted, the fits are compared instead.
   */
  public boolean choosesUnfitted() {
    return fit == null && settings instanceof PruneSettings.BestMerges;
  }

  /**
   * Estimates how many seconds the search takes.
   *
   * @param tokens tokens of the text that candidates are scored on
   * @param text the text that weights are fitted on; null where none are
   */
  public double seconds(JobEstimate estimate, long tokens, @Nullable FitText text) {
    double trials = estimate.search(models, target, objective, tokens);
    BlockSettings blocks = blocks();
    return blocks == null || text == null ? trials : trials + estimate.blocks(blocks, text);
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
    return of(request, model, OutputFormat.Folder.DEFAULT);
  }

  /**
   * The search that is asked for.
   *
   * @param written as what the result will be written
   * @throws UsageException if the settings do not fit each other or the model
   */
  static SearchChoice of(PruneRequest request, Model model, OutputFormat written) {
    SearchSettings search = request.search();
    ModelConfig config = model.config();
    Double threshold =
        request.goal() instanceof Goal.Threshold given ? Double.valueOf(given.similarity()) : null;
    Strategy how =
        search.strategy() != null
            ? search.strategy()
            : threshold != null ? Strategy.LACO : usual(request, model);
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
    boolean newWeights =
        request.healing() != null || !MergeRule.DROP.label().equals(request.rule());
    Integer target =
        threshold == null
            ? request
                .goal()
                .depth(
                    model, () -> PlanApplier.writtenSizes(model.checkpoint(), written, newWeights))
            : null;
    if (target == null || how == Strategy.LACO) {
      return loop(search, request.rule(), config, threshold, target);
    }
    return how == Strategy.BLOCKS
        ? blocks(request, model, target)
        : spans(search, request.rule(), config, how, target);
  }

  /** The strategy for a size where none is named. */
  private static Strategy usual(PruneRequest request, Model model) {
    return ofTrials(request.search()).isEmpty()
            && hasFitText(request, model)
            && closedForm(rule(request.rule(), model.config()))
        ? Strategy.BLOCKS
        : Strategy.BEAM;
  }

  /** The rule by which weights are fitted; null where none are. */
  private static @Nullable FitRule rule(@Nullable String rule, ModelConfig config) {
    return rule == null || rule.equals(MergeRule.AUTO)
        ? FitRule.best(config)
        : holding(FitRule.named(rule), config);
  }

  private static boolean hasFitText(PruneRequest request, Model model) {
    return request.fit().file() != null || model.tokenizer().isPresent();
  }

  /** Whether layers are chosen in closed form before a fit by this rule. */
  public static boolean closedForm(@Nullable FitRule fit) {
    return fit != null && fit.gap() != FitRule.Gap.SCALE;
  }

  /** Settings that only searches have which score candidates, by name, those that are given. */
  private static Map<String, Object> ofTrials(SearchSettings search) {
    Map<String, Object> given = new LinkedHashMap<>();
    put(given, "searchBudget", search.budget());
    put(given, "objective", search.objective() == null ? null : search.objective().optionValue());
    put(given, "mergeLayers", search.mergeLayers());
    put(given, "norms", search.norms() == null ? null : search.norms().optionValue());
    return given;
  }

  private static void put(Map<String, Object> given, String setting, @Nullable Object value) {
    if (value != null) {
      given.put(setting, value);
    }
  }

  /**
   * The search and the fit of a request that names nothing but a size.
   *
   * @param fitted whether weights are fitted afterwards by a rule of {@link #closedForm}
   */
  public static SearchChoice byDefault(ModelConfig config, int target, boolean fitted) {
    return fitted
        ? blocks(SearchSettings.DEFAULT, null, config, target)
        : spans(SearchSettings.DEFAULT, null, config, Strategy.BEAM, target);
  }

  private static SearchChoice blocks(PruneRequest request, Model model, int target) {
    ofTrials(request.search())
        .forEach(
            (setting, value) -> {
              throw Setting.of(setting)
                  .refuse(
                      value,
                      " is of searches that score candidates: ",
                      "leave it out, or " + ANOTHER_SEARCH);
            });
    String strategy = Strategy.BLOCKS.label();
    if (!closedForm(rule(request.rule(), model.config()))) {
      throw Setting.of("search")
          .refuse(
              strategy,
              " chooses layers whose work others can be fitted to do: ",
              "name a " + Setting.of("rule") + " that fits weights, or " + ANOTHER_SEARCH);
    }
    if (!hasFitText(request, model)) {
      throw Setting.of("search")
          .refuse(
              strategy,
              " measures on the text of the fit, and the model has "
                  + model.missingTokenizer()
                  + ": ",
              "give " + Setting.of("fitText") + " FILE.json with token ids, or " + ANOTHER_SEARCH);
    }
    return blocks(request.search(), request.rule(), model.config(), target);
  }

  private static SearchChoice blocks(
      SearchSettings asked, @Nullable String rule, ModelConfig config, int target) {
    SearchSettings search = sparing(asked, config);
    if (search.interval() != null) {
      throw ofTheLoop("interval", search.interval());
    }
    if (search.lookahead() != null) {
      throw ofTheLoop("lookahead", search.lookahead());
    }
    int depth = config.numHiddenLayers();
    int align = search.align() != null ? search.align() : 1;
    BlockSettings settings =
        new BlockSettings(
            lowest(search, depth),
            highest(search, depth),
            align,
            depth - target,
            config.otherThanFirst());
    settings.check(depth);
    requireAligned(align, depth, target);
    return new SearchChoice(
        (ground, listener) -> {
          if (target == depth) {
            return SearchResult.known(CollapsePlan.identity(ground.source()));
          }
          List<BlockCost> costs =
              costs(ground.model(), ground.text(), settings, listener::onProgress);
          return new BlockSearch(settings, ground.source(), ground.scorer()).run(costs, listener);
        },
        new PruneSettings.Blocks(settings, target),
        rule == null ? MergeRule.AUTO : rule,
        passCost -> SweepOptions.CANDIDATES,
        1,
        OBJECTIVE,
        BlockSearch.FOUND,
        target,
        rule(rule, config),
        null,
        null);
  }

  /**
   * What the removal of each block costs, by one walk over the original.
   *
   * @param text the text that weights are fitted on, of which a search in closed form has one
   * @param progress is told which share is done
   */
  public static List<BlockCost> costs(
      RunningModel model, @Nullable FitText text, BlockSettings settings, DoubleConsumer progress) {
    if (text == null) {
      throw new IllegalStateException("a search in closed form without a text");
    }
    try (BlockMeasure measure = new BlockMeasure(model, text, settings)) {
      return measure.measure(progress);
    }
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
        (ground, listener) -> SearchResult.known(plan),
        new PruneSettings.GivenPlan(given.file()),
        rule == null ? MergeRule.AUTO : rule,
        passCost -> 1,
        plan.layers().stream().mapToInt(LayerMix::sources).max().orElseThrow(),
        OBJECTIVE,
        0,
        plan.depth(),
        fit,
        null,
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
      SearchSettings asked,
      @Nullable String rule,
      ModelConfig config,
      @Nullable Double threshold,
      @Nullable Integer target) {
    SearchSettings search = sparing(asked, config);
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
        (ground, listener) -> {
          LayerCollapse loop = new LayerCollapse(settings, ground.source(), ground.scorer(), ahead);
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
        null,
        limits(search, settings.highest(), 1));
  }

  private static double requireThreshold(@Nullable Double threshold) {
    if (threshold == null) {
      throw new IllegalStateException("neither a threshold nor a target");
    }
    return threshold;
  }

  private static SearchChoice spans(
      SearchSettings asked, @Nullable String rule, ModelConfig config, Strategy how, int target) {
    SearchSettings search = sparing(asked, config);
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
    FitRule fit = rule(rule, config);
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
    RemovalLimits limits = limits(search, settings.highest(), align);
    return new SearchChoice(
        (ground, listener) ->
            new SpanSearch(settings, ground.source(), ground.scorer())
                .reach(target, bound, listener),
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
        settings.rules().contains(MergeRule.DROP) ? new PeerModels(limits) : null,
        align == 1 ? limits : null);
  }

  /** The same settings, by which the layers stay that a model needs in their places. */
  private static SearchSettings sparing(SearchSettings asked, ModelConfig config) {
    int least = config.visualLayers() - 1;
    if (least <= 0) {
      return asked;
    }
    if (asked.lowest() != null && asked.lowest() < least) {
      throw Setting.of("lowest")
          .refuse(
              asked.lowest(),
              String.format(
                  Locale.ROOT,
                  " would remove layers behind which this %s adds what it sees: ",
                  config.architecture().className()),
              "give at least " + least);
    }
    return asked.lowest() == null ? asked.withLowest(least) : asked;
  }

  /** The layers that a model may lack which the search did not find itself. */
  private static RemovalLimits limits(SearchSettings search, int highest, int align) {
    // The default spares layers that nobody asked to be spared.
    return new RemovalLimits(search.lowest() != null ? search.lowest() : 0, highest, align);
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
