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
import dev.laco.fit.FittedChoice;
import dev.laco.fit.HeldOutChoice;
import dev.laco.fit.QuickFits;
import dev.laco.fit.WholeText;
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
import dev.laco.text.CalibrationSet;
import dev.laco.text.ClozeSet;
import dev.laco.text.FitText;
import dev.laco.transformer.CausalLm;
import dev.laco.transformer.PlannedLayers;
import dev.laco.transformer.RunningModel;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashSet;
import java.util.List;
import java.util.Locale;
import java.util.Objects;
import java.util.Optional;
import java.util.Set;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;

/**
 * One comparison: every strategy on the same device, texts and size, or at several sizes, one after
 * the other. The job writes no file.
 */
@SuppressWarnings("exports")
public final class CompareJob extends ModelJob<CompareJob> {
  private static final String DENSE_WORDS = "last words, dense";

  /** What helps where the memory does not suffice. */
  private static final String HELPS = "use fewer or shorter calibration sentences";

  /** What a pass carries of a search. */
  private static final SweepOptions SWEEP =
      SweepOptions.of(SweepOptions.CANDIDATES).with(Objective.NLL);

  private final CompareRequest request;
  private final List<Integer> targets;

  /** Read when they are first asked for. */
  private @Nullable Texts read;

  /**
   * Prepares a comparison.
   *
   * @throws UsageException if the model cannot have the size
   */
  public CompareJob(Model model, DeviceSettings device, CompareRequest request) {
    this(model, device, request, List.of(request.goal().depth(model)));
  }

  /**
   * Prepares a comparison at several sizes.
   *
   * @param targets the numbers of layers, in the place of the request's size
   */
  public CompareJob(
      Model model, DeviceSettings device, CompareRequest request, List<Integer> targets) {
    super(model, device);
    this.request = request;
    this.targets = List.copyOf(targets);
  }

  /** The texts of a comparison as token ids; null where there is none. */
  private record Texts(
      PackedSequences calibration,
      List<String> calibrationWarnings,
      EvaluationText evaluation,
      @Nullable FitText fit,
      @Nullable FitText fitSource,
      @Nullable FitText choice,
      @Nullable ClozeSet passages) {
    /** The text on which a chosen model is fitted by a rule; null where there is no fit. */
    private @Nullable WholeText whole(FitRule rule) {
      return WholeText.orNull(fitSource, fit, rule, false);
    }

    /** All that weights are fitted to. */
    private List<FitText> learnt(FitRule rule) {
      WholeText whole = whole(rule);
      return whole == null ? List.of() : List.of(whole.all());
    }
  }

  /**
   * Runs the job at its one size.
   *
   * @throws dev.laco.LacoException as {@link #run(Consumer)}
   */
  public CompareResult run() {
    List<CompareResult> results = new ArrayList<>();
    run(results::add);
    return results.getFirst();
  }

  /**
   * Runs the job. The original runs over the evaluation text once for all strategies and sizes, as
   * far as its hidden states are held.
   *
   * @param each gets the result of each size as soon as it is complete
   * @throws UsageException if there is nothing to measure on
   * @throws dev.laco.BadInputException if a text cannot be used, or the model's weights are damaged
   * @throws dev.laco.ResourceException if the device or the memory does not suffice
   * @throws dev.laco.CancelledException if it was cancelled
   */
  public void run(Consumer<? super CompareResult> each) {
    begin();
    Texts texts = texts();
    try (OpenDevice opened = openDevice(texts.fit != null)) {
      Backend backend = opened.backend();
      texts.calibrationWarnings.forEach(this::warn);
      if (texts.fit == null && request.strategies().contains(Strategy.DEFAULT)) {
        warn(Strategy.DEFAULT.label() + ": " + JobTexts.noFit(model));
      }
      texts
          .evaluation
          .warnings(model, texts.learnt(FitRule.best(model.config())))
          .forEach(this::warn);
      RunningModel running = runningModel(backend, beside(backend, texts), mixed(), HELPS);
      // A search reads every layer in its first pass, but not the head.
      model.checkpoint().requireFiniteOutsideLayers();
      expect(backend, texts);
      tellExpectation();
      try (FidelityMeasure measure = texts.evaluation.against(running.original(), true)) {
        Perplexity dense = texts.evaluation.measure(progress(), DENSE, model.directory(), measure);
        LastWord denseWords = lastWord(DENSE_WORDS, running.original(), texts);
        tell(new CompareEvent.DenseMeasured(dense, denseWords));
        for (int target : targets) {
          List<LeftOut> leftOut = new ArrayList<>();
          List<Row> rows = new AtSize(running, texts, measure, target, leftOut).rows();
          each.accept(
              new CompareResult(
                  model.directory(),
                  model.config().numHiddenLayers(),
                  target,
                  texts.evaluation.name(),
                  dense,
                  denseWords,
                  rows,
                  leftOut,
                  warnings()));
        }
      }
    }
  }

  /**
   * Plans the memory and expects the stages of this job where it is a part of another one, before
   * the other one begins.
   *
   * @param opened the device on which both compute
   * @throws UsageException if there is nothing to measure on
   * @throws dev.laco.BadInputException if a text cannot be used
   * @throws dev.laco.ResourceException if the memory does not suffice, or a fit lacks a library
   */
  public void expect(OpenDevice opened) {
    Texts texts = texts();
    if (texts.fit != null) {
      opened.requireSolver();
    }
    Backend backend = opened.backend();
    requireMemory(backend, beside(backend, texts), mixed(), HELPS);
    expect(backend, texts);
  }

  private Texts texts() {
    if (read == null) {
      read = read();
    }
    return read;
  }

  private Texts read() {
    EvaluationText evaluation =
        JobTexts.requireEvaluation(
            "compare by", model, request.texts().evaluation(), request.texts().evaluationTokens());
    FitText source = fitSource();
    FitText fit = source == null ? null : JobTexts.fit(source, model, request.fit().tokens());
    FitText choice =
        request.strategies().stream().anyMatch(this::choosesUnfitted)
            ? JobTexts.choiceOrNull(model, request.fit().file(), request.fit().tokens())
            : null;
    ClozeSet passages =
        request.passages() == null ? null : JobTexts.passages(model, request.passages());
    CalibrationSet calibration = JobTexts.calibration(model, request.texts().calibration());
    model.textsAreRead();
    return new Texts(
        PackedSequences.of(calibration.sequences()),
        calibration.warnings(),
        evaluation,
        fit,
        source,
        choice,
        passages);
  }

  /**
   * All of the text of fits; null where nothing is fitted, or only by default and there is none.
   */
  private @Nullable FitText fitSource() {
    List<Strategy> fitting =
        request.strategies().stream().filter(strategy -> fit(strategy) != null).toList();
    if (fitting.isEmpty()) {
      return null;
    }
    Path file = request.fit().file();
    return fitting.stream().allMatch(Strategy.DEFAULT::equals)
        ? JobTexts.fitSourceOrNull(model, file)
        : JobTexts.fitSource(model, file);
  }

  /** What is needed beside the weights of the original. */
  private MemoryPlan.Beside beside(Backend backend, Texts texts) {
    long choosing =
        Math.max(
            ResidualStream.bytes(model.config(), texts.calibration),
            texts.choice == null
                ? 0
                : SweepScorer.bytes(model.config(), texts.choice.tokens(), choosing(texts)));
    return new MemoryPlan.Beside(
        // All strategies of a size share one scorer.
        SweepScorer.bytes(model.config(), texts.calibration.size(), SWEEP)
            + Math.max(choosing, measuring(backend, texts))
            + FidelityMeasure.heldBytes(backend, model.config(), texts.evaluation.chunks())
            + model.config().layerParameters() * Float.BYTES,
        texts.fit == null ? 0 : newWeights());
  }

  /** The most original layers that one layer is mixed from. */
  private int mixed() {
    return model.config().numHiddenLayers();
  }

  /** What a pass of the choice among models carries of which none is fitted. */
  private SweepOptions choosing(Texts texts) {
    return HeldOutChoice.options(model.config(), SWEEP, texts.calibration.size());
  }

  private long measuring(Backend backend, Texts texts) {
    long heldOut =
        Math.max(
            FidelityMeasure.bytes(backend, model.config(), texts.evaluation.chunks()),
            texts.fit == null
                ? 0
                : Math.max(
                    FittedChoice.bytes(
                        backend,
                        model.config(),
                        texts.fit,
                        Objects.requireNonNull(texts.whole(FitRule.best(model.config())))),
                    blocks(backend, texts.fit)));
    return texts.passages == null
        ? heldOut
        : Math.max(heldOut, LastWordMeasure.bytes(backend, model.config(), texts.passages.items()));
  }

  private long blocks(Backend backend, FitText text) {
    long most = 0;
    for (int target : targets) {
      BlockSettings blocks = SearchChoice.byDefault(model.config(), target, true).blocks();
      if (blocks != null) {
        most = Math.max(most, BlockMeasure.bytes(backend, model.config(), text, blocks));
      }
    }
    return most;
  }

  /** The most bytes that the fitted tensors of a strategy may take. */
  private long newWeights() {
    return request.strategies().stream()
        .map(this::fit)
        .filter(fit -> fit != null)
        .flatMapToLong(
            fit ->
                targets.stream()
                    .mapToLong(target -> MemoryPlan.newWeights(model.checkpoint(), fit, target)))
        .max()
        .orElse(0);
  }

  /** Estimates the seconds of all stages. */
  private void expect(Backend backend, Texts texts) {
    JobEstimate estimate = new JobEstimate(model, backend);
    JobProgress job = progress();
    int depth = model.config().numHiddenLayers();
    job.expect(DENSE, estimate.pass(texts.evaluation.chunks(), depth));
    if (texts.passages != null) {
      job.expect(DENSE_WORDS, estimate.pass(texts.passages.items(), depth));
    }
    for (int target : targets) {
      expect(estimate, texts, target);
    }
  }

  private void expect(JobEstimate estimate, Texts texts, int target) {
    JobProgress job = progress();
    Set<Boolean> searched = new HashSet<>();
    for (Strategy strategy : request.strategies()) {
      String label = label(strategy, target);
      boolean closedForm = closedForm(strategy, texts);
      boolean again = strategy.isSearched() && !searched.add(closedForm);
      SearchChoice usual = search(strategy, texts, target);
      job.expect(
          label,
          again
              ? 0
              : LayerChoices.seconds(
                  estimate,
                  model.config(),
                  strategy.layers(),
                  target,
                  closedForm,
                  texts.calibration.size(),
                  texts.fit));
      FitRule fit = fit(strategy);
      if (fit != null && texts.fit != null) {
        int contenders = strategy.isSearched() ? usual.mostContenders() : 1;
        estimate.expectFit(
            job,
            label,
            QuickFits.of(fit, false),
            contenders,
            texts.fit,
            texts.fit.tokens(),
            target);
      }
      if (choosesUnfitted(strategy) && texts.choice != null) {
        job.expect(
            FittedChoice.choiceStage(label),
            estimate.search(HeldOutChoice.MOST, target, usual.objective(), texts.choice.tokens()));
      }
      job.expect(heldOut(label), estimate.pass(texts.evaluation.chunks(), target));
      if (texts.passages != null) {
        job.expect(lastWords(label), estimate.pass(texts.passages.items(), target));
      }
    }
  }

  /** Names the stages of a strategy, by its size, too, where there are several. */
  private String label(Strategy strategy, int target) {
    return targets.size() == 1
        ? strategy.label()
        : String.format(Locale.ROOT, "%s, %d layers", strategy.label(), target);
  }

  /** Whether the layers of a strategy are chosen in closed form. */
  private boolean closedForm(Strategy strategy, Texts texts) {
    return strategy.isSearched() && texts.fit != null && SearchChoice.closedForm(fit(strategy));
  }

  /** Our own search before the fit of a strategy. */
  private SearchChoice search(Strategy strategy, Texts texts, int target) {
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
    return strategy.isSearched() && strategy.fit() == null;
  }

  /**
   * Why the fit of a strategy does not hold for the model; null where it holds or there is none.
   */
  private @Nullable String whyNot(Strategy strategy) {
    FitRule fit = strategy.fit();
    return fit == null ? null : fit.whyNot(model.config());
  }

  private static String heldOut(String label) {
    return "held-out text, " + label;
  }

  private static String lastWords(String label) {
    return "last words, " + label;
  }

  /** The strategies at one size. */
  private final class AtSize {
    private final RunningModel running;
    private final Texts texts;
    private final FidelityMeasure measure;
    private final int target;
    private final List<LeftOut> leftOut;

    AtSize(
        RunningModel running,
        Texts texts,
        FidelityMeasure measure,
        int target,
        List<LeftOut> leftOut) {
      this.running = running;
      this.texts = texts;
      this.measure = measure;
      this.target = target;
      this.leftOut = leftOut;
    }

    /** The rows of all strategies that can be measured, the lowest perplexity first. */
    List<Row> rows() {
      CollapsePlan.Source source = PlanApplier.source(model.checkpoint());
      List<Row> rows = new ArrayList<>();
      try (SweepScorer scorer = new SweepScorer(running, source, texts.calibration, SWEEP)) {
        LayerChoices choices =
            new LayerChoices(running, source, texts.calibration, scorer, texts.fit, target);
        for (Strategy strategy : request.strategies()) {
          row(strategy, choices).ifPresent(rows::add);
        }
      }
      rows.sort(Comparator.comparingDouble(row -> row.fidelity().perplexity().meanNll()));
      return rows;
    }

    /** The row of a strategy; empty where it has no model that can be measured, which is told. */
    private Optional<Row> row(Strategy strategy, LayerChoices choices) {
      String why = whyNot(strategy);
      if (why != null && !strategy.equals(Strategy.DEFAULT)) {
        leaveOut(strategy, "left out: weights cannot be fitted: " + why);
        return Optional.empty();
      }
      String label = label(strategy, target);
      LayerChoices.Found chosen;
      try (JobProgress.Stage stage = progress().begin(label)) {
        chosen =
            choices.find(
                strategy.layers(),
                closedForm(strategy, texts),
                (trial, share) -> stage.updateShare(share));
      } catch (UsageException e) {
        leaveOut(strategy, e.template());
        return Optional.empty();
      }
      long start = System.nanoTime();
      SearchResult found = chosen.result();
      CollapsePlan plan =
          choosesUnfitted(strategy) && texts.choice != null
              ? chosen(label, found, texts.choice)
              : found.plan();
      NewWeights tensors = NewWeights.NONE;
      try (MemoryArena memory = new MemoryArena();
          PlannedLayers layers = running.pruned(plan, tensors)) {
        FitRule fit = fit(strategy);
        if (fit != null && texts.fit != null) {
          // Neighbours are tried in our own way alone: other strategies keep the layers they chose.
          FittedChoice.Outcome fitted =
              new FittedChoice(progress(), label, running, FittedChoice.Listener.NONE)
                  .run(
                      found,
                      strategy.isSearched() ? search(strategy, texts, target).neighbours() : null,
                      QuickFits.of(fit, false),
                      texts.fit,
                      _ -> Objects.requireNonNull(texts.whole(fit)),
                      memory);
          tensors = fitted.tensors();
          plan =
              fitted.plan().withTensors(new PlanTensors(tensors).named(PlanTensors.DEFAULT_FILE));
          layers.use(fitted.plan(), tensors);
        }
        double seconds = chosen.seconds() + Seconds.since(start);
        Optional<Row> row = measured(strategy, plan, layers.model(), seconds);
        running.backend().release(List.copyOf(tensors.tensors().values()));
        return row;
      }
    }

    private Optional<Row> measured(
        Strategy strategy, CollapsePlan plan, CausalLm pruned, double seconds) {
      String label = label(strategy, target);
      Score score = ModelScore.of(running.original(), pruned, texts.calibration);
      Fidelity fidelity =
          texts.evaluation.measure(progress(), heldOut(label), measure, pruned).pruned();
      if (!FiniteResults.isFinite(fidelity.perplexity())) {
        leaveOut(
            strategy,
            String.format(
                Locale.ROOT,
                "left out: perplexity is %s, its hidden states overflow",
                fidelity.perplexity().perplexity()));
        return Optional.empty();
      }
      LastWord words = lastWord(lastWords(label), pruned, texts);
      Row row = new Row(strategy, plan, score, fidelity, words, seconds);
      tell(new CompareEvent.StrategyMeasured(row));
      return Optional.of(row);
    }

    /**
     * The best of a search, and of other people's methods, on text that the search has not seen.
     */
    private CollapsePlan chosen(String label, SearchResult found, FitText text) {
      SweepOptions options = choosing(texts);
      try (JobProgress.Stage _ = progress().begin(FittedChoice.choiceStage(label));
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
