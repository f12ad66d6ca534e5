package dev.laco.compare;

import dev.laco.DeviceSettings;
import dev.laco.JobProgress;
import dev.laco.Model;
import dev.laco.Seconds;
import dev.laco.UsageException;
import dev.laco.apply.PlanApplier;
import dev.laco.apply.PlanTensors;
import dev.laco.backend.Backend;
import dev.laco.backend.MemoryArena;
import dev.laco.collapse.BlockSettings;
import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.FitRule;
import dev.laco.collapse.Objective;
import dev.laco.collapse.Score;
import dev.laco.collapse.SearchResult;
import dev.laco.compare.CompareResult.LeftOut;
import dev.laco.compare.CompareResult.Row;
import dev.laco.fit.BlockMeasure;
import dev.laco.fit.CarryOver;
import dev.laco.fit.FittedChoice;
import dev.laco.fit.HeldOutChoice;
import dev.laco.measure.FidelityMeasure;
import dev.laco.measure.LastWordMeasure;
import dev.laco.model.NewWeights;
import dev.laco.model.PackedSequences;
import dev.laco.prune.SearchChoice;
import dev.laco.report.Fidelity;
import dev.laco.report.LastWord;
import dev.laco.report.Perplexity;
import dev.laco.run.EvaluationText;
import dev.laco.run.FiniteResults;
import dev.laco.run.JobEstimate;
import dev.laco.run.JobTexts;
import dev.laco.run.MemoryPlan;
import dev.laco.run.ModelJob;
import dev.laco.run.OpenDevice;
import dev.laco.scoring.ModelScore;
import dev.laco.scoring.ResidualStream;
import dev.laco.scoring.SweepOptions;
import dev.laco.scoring.SweepScorer;
import dev.laco.text.ClozeSet;
import dev.laco.text.FitText;
import dev.laco.transformer.CausalLm;
import dev.laco.transformer.PlannedLayers;
import dev.laco.transformer.RunningModel;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashSet;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/** One comparison: every strategy on the same device, texts and size. The job writes no file. */
@SuppressWarnings("exports")
public final class CompareJob extends ModelJob<CompareJob> {
  private static final String DENSE_WORDS = "last words, dense";

  private final CompareRequest request;
  private final int target;
  private final List<LeftOut> leftOut = new ArrayList<>();
  private @Nullable Perplexity known;

  /**
   * Prepares a comparison.
   *
   * @throws UsageException if the model cannot have the size
   */
  public CompareJob(Model model, DeviceSettings device, CompareRequest request) {
    super(model, device);
    this.request = request;
    this.target = request.goal().depth(model);
  }

  /** Takes the perplexity of the original on the evaluation text as it was measured before. */
  public CompareJob knowing(Perplexity dense) {
    known = dense;
    return this;
  }

  /** The texts of a comparison as token ids; null where there is none. */
  private record Texts(
      PackedSequences calibration,
      EvaluationText evaluation,
      @Nullable FitText fit,
      @Nullable FitText choice,
      @Nullable ClozeSet passages) {}

  /**
   * Runs the job.
   *
   * @throws UsageException if there is nothing to measure on
   * @throws dev.laco.BadInputException if a text cannot be used, or the model's weights are damaged
   * @throws dev.laco.ResourceException if the device or the memory does not suffice
   * @throws dev.laco.CancelledException if it was cancelled
   */
  public CompareResult run() {
    Texts texts = texts();
    SweepOptions sweep = SweepOptions.of(SweepOptions.CANDIDATES).with(Objective.NLL);
    try (OpenDevice opened = openDevice(texts.fit != null)) {
      Backend backend = opened.backend();
      boolean fits = request.strategies().stream().anyMatch(strategy -> fit(strategy) != null);
      texts
          .evaluation
          .warnings(model, fits && texts.fit != null ? List.of(texts.fit) : List.of())
          .forEach(this::warn);
      RunningModel running = running(backend, sweep, texts);
      // A search reads every layer in its first pass, but not the head.
      model.checkpoint().requireFiniteOutsideLayers();
      expect(backend, texts);
      CausalLm original = running.original();
      Perplexity dense =
          known != null
              ? known
              : texts.evaluation.measure(progress(), DENSE, model.directory(), original);
      LastWord denseWords = lastWord(DENSE_WORDS, original, texts);
      tell(new CompareEvent.DenseMeasured(dense, denseWords));
      return new CompareResult(
          model.directory(),
          model.config().numHiddenLayers(),
          target,
          texts.evaluation.name(),
          dense,
          denseWords,
          rows(running, texts, sweep),
          leftOut,
          warnings());
    }
  }

  private Texts texts() {
    EvaluationText evaluation =
        JobTexts.requireEvaluation(
            "compare by", model, request.texts().evaluation(), request.texts().evaluationTokens());
    FitText fit = JobTexts.fitOrNull(model, request.fit().file(), request.fit().tokens());
    FitText choice =
        request.strategies().stream().anyMatch(this::choosesUnfitted)
            ? JobTexts.choiceOrNull(model, request.fit().file(), request.fit().tokens())
            : null;
    ClozeSet passages =
        request.passages() == null ? null : JobTexts.passages(model, request.passages());
    PackedSequences calibration =
        PackedSequences.of(JobTexts.calibration(model, request.texts().calibration()).sequences());
    model.textsAreRead();
    return new Texts(calibration, evaluation, fit, choice, passages);
  }

  private RunningModel running(Backend backend, SweepOptions sweep, Texts texts) {
    long searching =
        SweepScorer.bytes(model.config(), texts.calibration.size(), sweep)
            + Math.max(
                ResidualStream.bytes(model.config(), texts.calibration),
                texts.choice == null
                    ? 0
                    : SweepScorer.bytes(
                        model.config(), texts.choice.tokens(), choosing(sweep, texts)));
    return runningModel(
        backend,
        new MemoryPlan.Beside(
            Math.max(searching, measuring(backend, texts))
                + model.config().layerParameters() * Float.BYTES,
            texts.fit == null ? 0 : newWeights()),
        model.config().numHiddenLayers(),
        "use fewer or shorter calibration sentences");
  }

  /** What a pass of the choice among models carries of which none is fitted. */
  private SweepOptions choosing(SweepOptions sweep, Texts texts) {
    return HeldOutChoice.options(model.config(), sweep, texts.calibration.size());
  }

  private long measuring(Backend backend, Texts texts) {
    long heldOut =
        Math.max(
            FidelityMeasure.bytes(model.config(), texts.evaluation.chunks()),
            texts.fit == null
                ? 0
                : Math.max(
                    CarryOver.bytes(backend, model.config(), texts.fit.chunks()),
                    blocks(backend, texts.fit)));
    return texts.passages == null
        ? heldOut
        : Math.max(heldOut, LastWordMeasure.bytes(model.config(), texts.passages.items()));
  }

  private long blocks(Backend backend, FitText text) {
    BlockSettings blocks = SearchChoice.byDefault(model.config(), target, true).blocks();
    return blocks == null ? 0 : BlockMeasure.bytes(backend, model.config(), text, blocks);
  }

  /** The most bytes that the fitted tensors of a strategy may take. */
  private long newWeights() {
    return request.strategies().stream()
        .map(this::fit)
        .filter(fit -> fit != null)
        .mapToLong(fit -> MemoryPlan.newWeights(model.checkpoint(), fit, target))
        .max()
        .orElse(0);
  }

  /** Estimates the seconds of all stages. */
  private void expect(Backend backend, Texts texts) {
    JobEstimate estimate = new JobEstimate(model, backend);
    JobProgress job = progress();
    int depth = model.config().numHiddenLayers();
    if (known == null) {
      job.expect(DENSE, estimate.pass(texts.evaluation.chunks(), depth));
    }
    if (texts.passages != null) {
      job.expect(DENSE_WORDS, estimate.pass(texts.passages.items(), depth));
    }
    Set<Boolean> searched = new HashSet<>();
    for (Strategy strategy : request.strategies()) {
      boolean again = strategy.isSearched() && !searched.add(closedForm(strategy, texts));
      SearchChoice usual = search(strategy, texts);
      job.expect(
          strategy.label(),
          again ? 0 : usual.seconds(estimate, texts.calibration.size(), texts.fit));
      FitRule fit = fit(strategy);
      if (fit != null && texts.fit != null) {
        int contenders =
            strategy.isSearched() ? usual.mostContenders() : FittedChoice.mostContenders(false);
        estimate.expectFit(job, strategy.label(), fit, contenders, texts.fit, target);
      }
      if (choosesUnfitted(strategy) && texts.choice != null) {
        job.expect(
            FittedChoice.choiceStage(strategy.label()),
            estimate.search(HeldOutChoice.MOST, target, usual.objective(), texts.choice.tokens()));
      }
      job.expect(heldOut(strategy), estimate.pass(texts.evaluation.chunks(), depth + target));
      if (texts.passages != null) {
        job.expect(lastWords(strategy), estimate.pass(texts.passages.items(), target));
      }
    }
    tellExpectation();
  }

  /** Whether the layers of a strategy are chosen in closed form. */
  private boolean closedForm(Strategy strategy, Texts texts) {
    return strategy.isSearched() && texts.fit != null && SearchChoice.closedForm(fit(strategy));
  }

  /** Our own search before the fit of a strategy. */
  private SearchChoice search(Strategy strategy, Texts texts) {
    return SearchChoice.byDefault(model.config(), target, closedForm(strategy, texts));
  }

  /** How a strategy fits weights; null where it fits none, or none can be fitted. */
  private @Nullable FitRule fit(Strategy strategy) {
    if (strategy.equals(Strategy.DEFAULT)) {
      return FitRule.best(model.config());
    }
    return whyNot(strategy) == null ? strategy.fit() : null;
  }

  /** Whether the models of a strategy are compared once more, since no weights are fitted. */
  private boolean choosesUnfitted(Strategy strategy) {
    return strategy.isSearched() && fit(strategy) == null;
  }

  /**
   * Why the fit of a strategy does not hold for the model; null where it holds or there is none.
   */
  private @Nullable String whyNot(Strategy strategy) {
    FitRule fit = strategy.fit();
    return fit == null ? null : fit.whyNot(model.config());
  }

  private static String heldOut(Strategy strategy) {
    return "held-out text, " + strategy.label();
  }

  private static String lastWords(Strategy strategy) {
    return "last words, " + strategy.label();
  }

  /** The rows of all strategies that can be measured, the lowest perplexity first. */
  private List<Row> rows(RunningModel running, Texts texts, SweepOptions sweep) {
    CollapsePlan.Source source = PlanApplier.source(model.checkpoint());
    List<Row> rows = new ArrayList<>();
    try (SweepScorer scorer = new SweepScorer(running, source, texts.calibration, sweep)) {
      LayerChoices choices =
          new LayerChoices(running, source, texts.calibration, scorer, texts.fit, target);
      for (Strategy strategy : request.strategies()) {
        row(strategy, choices, running, texts, sweep).ifPresent(rows::add);
      }
    }
    rows.sort(Comparator.comparingDouble(row -> row.fidelity().perplexity().meanNll()));
    return rows;
  }

  /** The row of a strategy; empty where it has no model that can be measured, which is told. */
  private Optional<Row> row(
      Strategy strategy,
      LayerChoices choices,
      RunningModel running,
      Texts texts,
      SweepOptions sweep) {
    String why = whyNot(strategy);
    if (why != null && !strategy.equals(Strategy.DEFAULT)) {
      leaveOut(strategy, "left out: weights cannot be fitted: " + why);
      return Optional.empty();
    }
    long start = System.nanoTime();
    SearchResult found;
    try (JobProgress.Stage stage = progress().begin(strategy.label())) {
      found =
          choices.find(
              strategy.layers(),
              closedForm(strategy, texts),
              (trial, share) -> stage.updateShare(share));
    } catch (UsageException e) {
      leaveOut(strategy, e.template());
      return Optional.empty();
    }
    CollapsePlan plan =
        choosesUnfitted(strategy) && texts.choice != null
            ? chosen(strategy, found, running, texts.choice, choosing(sweep, texts))
            : found.plan();
    try (MemoryArena memory = new MemoryArena();
        PlannedLayers layers = running.pruned(plan, NewWeights.NONE)) {
      FitRule fit = fit(strategy);
      if (fit != null && texts.fit != null) {
        // Neighbours are tried in our own way alone: other strategies keep the layers they chose.
        FittedChoice.Outcome fitted =
            new FittedChoice(progress(), strategy.label(), running, FittedChoice.Listener.NONE)
                .run(
                    found,
                    strategy.isSearched() && search(strategy, texts).triesNeighbours(),
                    fit,
                    texts.fit,
                    memory);
        plan =
            fitted
                .plan()
                .withTensors(new PlanTensors(fitted.tensors()).named(PlanTensors.DEFAULT_FILE));
        layers.use(fitted.plan(), fitted.tensors());
      }
      double seconds = Seconds.since(start);
      CausalLm original = running.original();
      Score score = ModelScore.of(original, layers.model(), texts.calibration);
      Fidelity fidelity =
          texts.evaluation.measure(progress(), heldOut(strategy), original, layers.model());
      if (!FiniteResults.isFinite(fidelity.perplexity())) {
        leaveOut(
            strategy,
            String.format(
                Locale.ROOT,
                "left out: perplexity is %s, its hidden states overflow",
                fidelity.perplexity().perplexity()));
        return Optional.empty();
      }
      LastWord words = lastWord(lastWords(strategy), layers.model(), texts);
      Row row = new Row(strategy, plan, score, fidelity, words, seconds);
      tell(new CompareEvent.StrategyMeasured(row));
      return Optional.of(row);
    }
  }

  /** The best of a search, and of other people's methods, on text that the search has not seen. */
  private CollapsePlan chosen(
      Strategy strategy,
      SearchResult found,
      RunningModel running,
      FitText text,
      SweepOptions options) {
    try (JobProgress.Stage _ = progress().begin(FittedChoice.choiceStage(strategy.label()));
        SweepScorer scorer =
            new SweepScorer(
                running, found.plan().source(), HeldOutChoice.sequences(text), options)) {
      return HeldOutChoice.among(found, options.objective(), text.name(), text.tokens(), scorer)
          .plan();
    }
  }

  private void leaveOut(Strategy strategy, String template) {
    LeftOut why = new LeftOut(strategy, template);
    leftOut.add(why);
    tell(new CompareEvent.StrategyLeftOut(why));
  }

  /** How often a model knows the last word of a passage; null where that was not asked for. */
  private @Nullable LastWord lastWord(String stage, CausalLm lm, Texts texts) {
    if (texts.passages == null) {
      return null;
    }
    try (JobProgress.Stage progress = progress().begin(stage)) {
      return LastWordMeasure.measure(lm, texts.passages.items(), progress::update);
    }
  }
}
