package dev.laco.prune;

import static java.nio.charset.StandardCharsets.UTF_8;

import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.laco.DeviceSettings;
import dev.laco.Model;
import dev.laco.Setting;
import dev.laco.UsageException;
import dev.laco.apply.PlanApplier;
import dev.laco.apply.PlanTensors;
import dev.laco.backend.Backend;
import dev.laco.backend.MemoryArena;
import dev.laco.checkpoint.Checkpoint;
import dev.laco.checkpoint.Sha256;
import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.Score;
import dev.laco.collapse.Scorer;
import dev.laco.collapse.SearchResult;
import dev.laco.collapse.Trial;
import dev.laco.collapse.TrialListener;
import dev.laco.collapse.Work;
import dev.laco.eval.Perplexity;
import dev.laco.fit.CarryOver;
import dev.laco.fit.FitRule;
import dev.laco.model.ConfigRewriter;
import dev.laco.model.NewWeights;
import dev.laco.model.PackedSequences;
import dev.laco.report.PruneReport;
import dev.laco.run.EvaluationText;
import dev.laco.run.FiniteResults;
import dev.laco.run.JobEstimate;
import dev.laco.run.JobProgress;
import dev.laco.run.MemoryPlan;
import dev.laco.run.ModelJob;
import dev.laco.run.OpenDevice;
import dev.laco.run.Seconds;
import dev.laco.scoring.ModelScore;
import dev.laco.scoring.PassCost;
import dev.laco.scoring.SweepOptions;
import dev.laco.scoring.SweepScorer;
import dev.laco.text.CalibrationSet;
import dev.laco.text.FitText;
import dev.laco.transformer.PlannedLayers;
import dev.laco.transformer.RunningModel;
import java.util.Locale;
import java.util.Optional;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.function.UnaryOperator;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;

/**
 * One prune: search, fit, measure. What it finds is a {@link PruneResult}, which lives as long as
 * the job; writing it is a step of its own.
 */
public final class PruneJob extends ModelJob<PruneJob> implements AutoCloseable {
  /** Stages, as {@link #progress} names them. */
  public static final String SEARCH = "search";

  /** The checkpoint is written, by whoever asked for the job; likewise. */
  public static final String WRITE = "write";

  private static final String SIMILARITY = "similarity";
  private static final String PRUNED = "perplexity, pruned";

  private final PruneRequest request;
  private final @Nullable GivenPlan given;
  private final SearchChoice search;
  private final MemoryArena newMemory = new MemoryArena();
  private final long start = System.nanoTime();
  private UnaryOperator<Scorer> scoring = UnaryOperator.identity();
  private boolean writes;
  private volatile PruneEvent.@Nullable BetterModel best;

  /**
   * Prepares a prune.
   *
   * @throws UsageException if the request cannot be met with this model
   * @throws dev.laco.BadInputException if a given plan is for another model, or the config cannot
   *     be that of a shallower model
   */
  public PruneJob(Model model, DeviceSettings device, PruneRequest request) {
    super(model, device);
    this.request = request;
    this.given = request.fromPlan() == null ? null : GivenPlan.read(request.fromPlan());
    try {
      this.search =
          given == null
              ? SearchChoice.of(request, model)
              : SearchChoice.goOnFrom(given, request.rule());
      requireConfigOfAnyDepth();
      if (given != null) {
        // A plan of another model is an error before the work, not after it.
        new PlanApplier(
            model.checkpoint(), given.plan(), given.tensors(), Long.MAX_VALUE, warning -> {});
      }
    } catch (RuntimeException e) {
      close();
      throw e;
    }
  }

  /**
   * Another scorer searches in the place of the engine's.
   *
   * @param scorer makes it of the engine's, which it may ask
   */
  public PruneJob scoredBy(UnaryOperator<Scorer> scorer) {
    scoring = scorer;
    return this;
  }

  /** The result will be written: the time for that counts in what is estimated. */
  public PruneJob thenWritten() {
    writes = true;
    return this;
  }

  /** The best model so far, of a cancelled job too; empty before there is one. */
  public Optional<PruneEvent.BetterModel> best() {
    return Optional.ofNullable(best);
  }

  /**
   * A name of the job: the same request of the same weights has the same. Devices and the version
   * of laco are not part of it.
   */
  public String id() {
    CollapsePlan.Source source = PlanApplier.source(model.checkpoint());
    String named =
        String.join("\n", request.toJson().toString(), source.digest(), source.weights());
    return new Sha256().update(named.getBytes(UTF_8)).hex();
  }

  /** The most layers that the result may have. */
  public int mostLayers() {
    return search.depthSought(model);
  }

  /** Bytes of tensors that the job fits anew, at most. */
  public long mostNewBytes() {
    return search.fit() == null
        ? 0
        : MemoryPlan.newWeights(model.checkpoint(), search.fit(), search.target());
  }

  /**
   * Runs the job.
   *
   * @throws dev.laco.BadInputException if a text cannot be used, or the model's weights are damaged
   * @throws dev.laco.ResourceException if the device or the memory does not suffice
   * @throws dev.laco.CancelledException if it was cancelled
   */
  public PruneResult run() {
    CalibrationSet calibration = model.calibration(request.texts().calibration());
    PackedSequences sequences = PackedSequences.of(calibration.sequences());
    EvaluationText evaluation = request.texts().evaluation(model);
    FitText fitText = fitTextOrNull();
    model.textsAreRead();
    try (OpenDevice opened = openDevice(fitText != null)) {
      Backend backend = opened.backend();
      announce(calibration, sequences, evaluation, fitText);
      SweepOptions sweep = sweep(backend, sequences.size());
      RunningModel running = running(backend, sweep, sequences, evaluation, fitText);
      // The search reads every layer in its first pass, but not the head.
      model.checkpoint().requireFiniteOutsideLayers();
      expect(backend, sequences, fitText, evaluation);
      return run(running, calibration, sequences, evaluation, fitText, sweep);
    }
  }

  private PruneResult run(
      RunningModel running,
      CalibrationSet calibration,
      PackedSequences sequences,
      @Nullable EvaluationText evaluation,
      @Nullable FitText fitText,
      SweepOptions sweep) {
    Backend backend = running.backend();
    double loadSeconds = model.openSeconds() + Seconds.since(start);
    long searchStart = System.nanoTime();
    Searched found = given == null ? search(running, sequences, sweep) : given(given);
    SearchResult result = found.result();
    if (result.cutShort()) {
      warn(
          Setting.of("searchBudget")
              + " "
              + request.search().budget()
              + " ended the search before everything was tried: a larger one may find a better model");
    }
    FiniteResults.require(model.directory(), result);
    CollapsePlan searched = result.plan();
    PlanTensors tensors = given == null ? new PlanTensors(NewWeights.NONE) : given.tensors();
    better(searched, tensors, null);
    double searchSeconds = Seconds.since(searchStart);
    FittedChoice.Outcome fitted =
        fitText == null || search.fit() == null || searched.isIdentity()
            ? null
            : new FittedChoice(progress(), "", running)
                .run(result, given == null, search.fit(), fitText, newMemory, this::told);
    if (fitted != null) {
      tensors = new PlanTensors(fitted.tensors());
    }
    CollapsePlan plan =
        (fitted == null ? searched : fitted.plan())
            .withTensors(tensors.named(PlanTensors.DEFAULT_FILE))
            .withProducts(products(backend));
    better(plan, tensors, null);
    if (fitted != null || (search.objective().needsLanguage() && !plan.isIdentity())) {
      // The one that is written, with all that can be said of it.
      Score score = score(running, plan, tensors.weights(), sequences);
      FiniteResults.require(model.directory(), score);
      result = result.withBest(plan, score);
    } else {
      result = result.withBest(plan, result.score());
    }
    PruneReport.Quality quality = quality(running, plan, tensors.weights(), evaluation);
    long parametersIn = model.checkpoint().parameterCount();
    return new PruneResult(
        id(),
        model,
        request,
        plan,
        tensors,
        result,
        searched,
        parametersIn,
        parametersIn
            - (model.config().numHiddenLayers() - plan.depth()) * model.config().layerParameters(),
        quality,
        fitted == null ? null : fitted.report(),
        search.fit() != null && fitText == null,
        settings(backend, calibration, sequences, fitText),
        backend.info().name(),
        found.work(),
        new PruneResult.Timings(
            loadSeconds,
            searchSeconds,
            model.openSeconds() + Seconds.since(start),
            productRates(backend)),
        warnings());
  }

  private void better(CollapsePlan plan, PlanTensors tensors, @Nullable Score score) {
    told(new PruneEvent.BetterModel(plan, tensors, score));
  }

  private void told(PruneEvent event) {
    if (event instanceof PruneEvent.BetterModel better) {
      best = better;
    }
    tell(event);
  }

  private void announce(
      CalibrationSet calibration,
      PackedSequences sequences,
      @Nullable EvaluationText evaluation,
      @Nullable FitText fitText) {
    tell(
        new PruneEvent.CalibrationRead(
            calibration.name(), sequences.sequences(), sequences.size()));
    calibration.warnings().forEach(this::warn);
    if (evaluation != null) {
      evaluation.warnings(model, fitText).forEach(this::warn);
    }
  }

  /** Estimates the seconds of all stages. */
  private void expect(
      Backend backend,
      PackedSequences sequences,
      @Nullable FitText fitText,
      @Nullable EvaluationText evaluation) {
    JobEstimate estimate = new JobEstimate(model, backend);
    int depth = model.config().numHiddenLayers();
    int target = search.depthSought(model);
    if (given == null) {
      progress()
          .expect(
              SEARCH,
              estimate.search(
                  search.models(), search.target(), search.objective(), sequences.size()));
    }
    if (fitText != null && search.fit() != null) {
      FittedChoice.expect(progress(), estimate, "", search.fit(), given == null, fitText, target);
    }
    progress().expect(SIMILARITY, estimate.pass(sequences.size(), depth + target));
    if (evaluation != null) {
      progress().expect(DENSE, estimate.pass(evaluation.chunks(), depth));
      progress().expect(PRUNED, estimate.pass(evaluation.chunks(), target));
    }
    if (writes) {
      progress().expect(WRITE, JobEstimate.write(model.checkpoint().totalBytes()));
    }
    tellExpectation();
  }

  /** What a search found, and what it took. */
  private record Searched(SearchResult result, Work work) {}

  private Searched search(RunningModel running, PackedSequences sequences, SweepOptions sweep) {
    CollapsePlan.Source source = PlanApplier.source(model.checkpoint());
    try (SweepScorer scorer = new SweepScorer(running, source, sequences, sweep);
        JobProgress.Stage stage = progress().begin(SEARCH)) {
      tell(new PruneEvent.SearchStarted(search.isOneLoop(), search.objective()));
      SearchResult result = search.search().run(source, scoring.apply(scorer), follow(stage));
      tell(new PruneEvent.Searched(result, search.isOneLoop(), search.objective()));
      return new Searched(result, scorer.work());
    }
  }

  private TrialListener follow(JobProgress.Stage stage) {
    return new TrialListener() {
      @Override
      public void onTrial(Trial trial, double share) {
        tell(new PruneEvent.Tried(trial));
        stage.updateShare(share);
      }

      @Override
      public void onBest(CollapsePlan plan, Score score) {
        better(plan, new PlanTensors(NewWeights.NONE), score);
        stage.note(
            String.format(
                Locale.ROOT,
                "%d layers, %s %.4f",
                plan.depth(),
                search.objective().optionValue(),
                search.objective().measured(score)));
      }
    };
  }

  private Searched given(GivenPlan from) {
    tell(new PruneEvent.PlanGiven(from.file(), from.plan()));
    return new Searched(SearchResult.known(from.plan()), Work.NONE);
  }

  private Score score(
      RunningModel running, CollapsePlan plan, NewWeights tensors, PackedSequences sequences) {
    try (JobProgress.Stage _ = progress().begin(SIMILARITY);
        PlannedLayers layers = running.pruned(plan, tensors)) {
      return ModelScore.of(running.original(), layers.model(), sequences);
    }
  }

  private PruneReport.Quality quality(
      RunningModel running,
      CollapsePlan plan,
      NewWeights tensors,
      @Nullable EvaluationText evaluation) {
    if (evaluation == null) {
      return new PruneReport.NotMeasured(
          "the model has no tokenizer.json and no token-id lists were given");
    }
    Perplexity dense = evaluation.measure(progress(), DENSE, model.directory(), running.original());
    if (plan.isIdentity()) {
      return new PruneReport.Measured(evaluation.name(), dense, dense);
    }
    // Mixed tensors in the dtype they are written in: this is the checkpoint that a loader will
    // open.
    try (PlannedLayers layers = running.pruned(plan, tensors)) {
      return new PruneReport.Measured(
          evaluation.name(),
          dense,
          evaluation.measure(
              progress(), PRUNED, "the model pruned from " + model.directory(), layers.model()));
    }
  }

  /**
   * Null where nothing is fitted: the rule is none that does, or it was not asked for and there is
   * no text for this model.
   */
  private @Nullable FitText fitTextOrNull() {
    if (search.fit() == null) {
      if (!request.fit().equals(FitSettings.DEFAULT)) {
        throw new UsageException(
            Setting.of("fitText")
                + " and "
                + Setting.of("fitTokens")
                + " go with a "
                + Setting.of("rule")
                + " that fits: "
                + String.join(", ", FitRule.labels())
                + " or auto");
      }
      return null;
    }
    return request.rule() == null ? request.fit().textOrNull(model) : request.fit().text(model);
  }

  /** What one pass carries: it must not depend on what happens to be free, or no run repeats. */
  private SweepOptions sweep(Backend backend, int tokens) {
    boolean streaming = MemoryPlan.streams(backend, model.checkpoint(), device);
    double passCost = PassCost.of(backend, model.weightType(), tokens, streaming);
    SweepOptions wanted =
        SweepOptions.of(search.candidates().applyAsInt(passCost)).withPassCost(passCost);
    int merged = search.mergedAtOnce();
    SweepOptions bounded = wanted;
    if (device.memory() != null) {
      long most = MemoryPlan.forBuffers(backend, model.checkpoint(), device.memory(), merged);
      bounded = wanted.withBytes(Math.max(0, most - scratchBytes(merged)));
    }
    return bounded.with(search.objective());
  }

  private RunningModel running(
      Backend backend,
      SweepOptions sweep,
      PackedSequences sequences,
      @Nullable EvaluationText evaluation,
      @Nullable FitText fitText) {
    long searching = SweepScorer.bytes(model.config(), sequences.size(), sweep);
    long measuring = evaluation == null ? 0 : Perplexity.bytes(model.config(), evaluation.chunks());
    long fitting = fitText == null ? 0 : CarryOver.bytes(backend, model.config(), fitText.chunks());
    return runningModel(
        backend,
        new MemoryPlan.Beside(
            Math.max(Math.max(searching, measuring), fitting) + scratchBytes(search.mergedAtOnce()),
            fitText == null ? 0 : mostNewBytes()),
        search.mergedAtOnce(),
        fitText == null
            ? "use fewer or shorter calibration sentences"
            : "use fewer "
                + Setting.of("fitTokens")
                + ", or "
                + Setting.of("rule")
                + " align or drop, which make fewer weights anew");
  }

  /** A mixed layer, at most in f32; none where layers are used as they are. */
  private long scratchBytes(int mergedAtOnce) {
    return mergedAtOnce == 1 ? 0 : model.config().layerParameters() * Float.BYTES;
  }

  /** A config that cannot be re-indexed is an error before the search, not after it. */
  private void requireConfigOfAnyDepth() {
    int depth = model.config().numHiddenLayers();
    ConfigRewriter.rewrite(
        model.directory().resolve(Checkpoint.CONFIG).toString(),
        model.checkpoint().configJson(),
        IntStream.range(0, Math.max(1, depth - 1)).boxed().toList());
  }

  private ObjectNode settings(
      Backend backend,
      CalibrationSet calibration,
      PackedSequences sequences,
      @Nullable FitText fitText) {
    ObjectNode settings =
        search
            .settings()
            .deepCopy()
            .put("compute", device.compute().name().toLowerCase(Locale.ROOT))
            .put("products", products(backend))
            .put("calibration", calibration.name())
            .put("calibrationSentences", sequences.sequences())
            .put("calibrationTokens", sequences.size());
    FitRule fit = search.fit();
    if (fit != null && fitText != null) {
      settings
          .put("fitRule", fit.label())
          .put("fitText", fitText.name())
          .put("fitTokens", fitText.tokens());
    }
    return settings;
  }

  /** Operations a second by the name of the products' type. */
  private static SortedMap<String, Double> productRates(Backend backend) {
    SortedMap<String, Double> rates = new TreeMap<>();
    backend.productRates().forEach((type, rate) -> rates.put(type.shortName(), rate));
    return rates;
  }

  /** The type of the products of this model's matrices. */
  private String products(Backend backend) {
    return backend.productType(model.weightType()).shortName();
  }

  /** Gives up what the result holds in memory. */
  @Override
  public void close() {
    if (given != null) {
      given.close();
    }
    newMemory.close();
  }
}
