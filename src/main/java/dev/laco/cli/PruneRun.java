package dev.laco.cli;

import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.laco.LacoVersion;
import dev.laco.UsageException;
import dev.laco.apply.PlanApplier;
import dev.laco.apply.PlanTensors;
import dev.laco.backend.Backend;
import dev.laco.backend.MemoryArena;
import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.KeptLayers;
import dev.laco.collapse.Score;
import dev.laco.collapse.SearchResult;
import dev.laco.collapse.Work;
import dev.laco.eval.Perplexity;
import dev.laco.fit.CarryOver;
import dev.laco.fit.FitRule;
import dev.laco.model.Architecture;
import dev.laco.model.DType;
import dev.laco.model.NewWeights;
import dev.laco.model.PackedSequences;
import dev.laco.model.TensorSpec;
import dev.laco.report.FitReport;
import dev.laco.report.PruneReport;
import dev.laco.scoring.ModelScore;
import dev.laco.scoring.PassCost;
import dev.laco.scoring.SweepOptions;
import dev.laco.scoring.SweepScorer;
import dev.laco.text.CalibrationSet;
import dev.laco.text.FitText;
import dev.laco.transformer.CausalLm;
import dev.laco.transformer.PlannedLayers;
import dev.laco.transformer.RunningModel;
import java.time.Instant;
import java.util.List;
import java.util.Locale;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.function.BiFunction;
import java.util.function.Function;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/**
 * One prune, step by step: calibrate, search, measure, report. Writing the checkpoint is the
 * caller's.
 */
final class PruneRun {
  /** From so much perplexity on, relative to the dense model's, a user is warned. */
  private static final double WARN_RATIO = 2;

  private static final String SIMILARITY = "similarity";
  static final String DENSE = "perplexity, dense";
  private static final String PRUNED = "perplexity, pruned";

  /** Matrices that a fit left alone; the report has all. */
  private static final int MOST_NAMED = 4;

  private final PruneCommand command;
  private final Console console;
  private final OpenModel model;
  private final BestSoFar best;
  private final @Nullable GivenPlan given;
  private final MemoryArena newMemory;

  /**
   * @param given what is gone on from in place of a search
   * @param newMemory owner of tensors that are made anew
   */
  PruneRun(
      PruneCommand command,
      Console console,
      OpenModel model,
      BestSoFar best,
      @Nullable GivenPlan given,
      MemoryArena newMemory) {
    this.command = command;
    this.console = console;
    this.model = model;
    this.best = best;
    this.given = given;
    this.newMemory = newMemory;
  }

  /**
   * What was found, before anything is written.
   *
   * @param newTensors those of the plan
   * @param report makes the final report once it is known where the plan's new tensors lie, and the
   *     seconds of writing
   */
  record Outcome(
      CollapsePlan plan,
      PlanTensors newTensors,
      BiFunction<CollapsePlan, @Nullable Double, PruneReport> report) {}

  Outcome run(long start, SearchOptions.Chosen search) {
    PruneReport.Origin origin =
        new PruneReport.Origin(LacoVersion.number(), Instant.now(), command.output.arguments());
    int depth = model.config().numHiddenLayers();
    CollapsePlan.Source source = PlanApplier.source(model.checkpoint());
    CalibrationSet calibration = command.texts.calibration(model);
    PackedSequences sequences = PackedSequences.of(calibration.sequences());
    EvaluationText evaluation = command.texts.evaluation(model);
    FitText fitText = fitTextOrNull(search);
    model.textsAreRead();
    Backends.Choice choice = command.device.open(model, console);
    try (Backend backend = choice.backend()) {
      if (fitText != null) {
        FitOptions.requireSolver(backend);
      }
      announce(choice, calibration, sequences, evaluation, fitText);
      SweepOptions sweep = sweep(search, backend, sequences.size());
      MemoryPlan memory = memory(backend, search, sweep, sequences, evaluation, fitText);
      console.line("memory", "%s", memory.describe(backend));
      RunningModel running = new RunningModel(backend, model.config(), memory.weights(backend));
      requireFiniteOutsideLayers(model);
      expect(search, backend, sequences, fitText, evaluation);
      double loadSeconds = seconds(start);
      long searchStart = System.nanoTime();
      Searched found =
          given == null ? search(search, running, source, sequences, sweep) : given(given);
      SearchResult result = found.result();
      Work work = found.work();
      if (result.cutShort()) {
        console.warning(
            "--search-budget "
                + command.search.budget
                + " ended the search before everything was tried: a larger one may find a better model");
      }
      FiniteResults.require(model.directory(), result);
      CollapsePlan searched = result.plan();
      PlanTensors givenTensors = given == null ? new PlanTensors(NewWeights.NONE) : given.tensors();
      best.set(searched, givenTensors);
      double searchSeconds = seconds(searchStart);
      FitRun.@Nullable Outcome fitted =
          fitText == null || search.fit() == null || searched.isIdentity()
              ? null
              : new FitRun(console, "", running)
                  .run(result, given == null, search.fit(), fitText, newMemory, best::set);
      PlanTensors newTensors = fitted == null ? givenTensors : new PlanTensors(fitted.tensors());
      CollapsePlan plan =
          (fitted == null ? searched : fitted.plan())
              .withTensors(newTensors.named(PlanTensors.DEFAULT_FILE))
              .withProducts(products(backend));
      best.set(plan, newTensors);
      if (fitted != null || (search.objective().needsLanguage() && !plan.isIdentity())) {
        // The one that is written, with all that can be said of it.
        Score score = score(running, plan, newTensors.weights(), sequences);
        FiniteResults.require(model.directory(), score);
        result = result.withBest(plan, score);
      } else {
        result = result.withBest(plan, result.score());
      }
      SearchResult kept = result;
      PruneReport.Quality quality =
          quality(running, result.plan(), newTensors.weights(), evaluation);
      long parametersIn = model.checkpoint().parameterCount();
      long parametersOut =
          parametersIn - (depth - result.plan().depth()) * parametersPerLayer(model);
      console.resultLine(
          "result",
          "%d → %d layers, %,d → %,d parameters, similarity %.4f",
          depth,
          result.plan().depth(),
          parametersIn,
          parametersOut,
          result.finalSimilarity());
      console.resultLine("layers", "%s", KeptLayers.of(result.plan()).describe());
      if (result.plan().isIdentity()) {
        console.plain("             no merge was accepted: the model is unchanged");
      }
      if (fitted != null) {
        sayIfOther(searched, fitted);
        say(fitted.report());
      } else if (search.fit() != null && fitText == null) {
        console.line(
            "fit",
            "not done: the model has no tokenizer.json; --fit-text FILE.json gives token-id lists");
      }
      sayQuality(quality);
      String device = backend.info().name();
      ObjectNode settings = settings(search, backend, calibration, sequences, fitText);
      SortedMap<String, Double> rates = productRates(backend);
      return new Outcome(
          kept.plan(),
          newTensors,
          (written, writeSeconds) ->
              new PruneReport(
                  origin,
                  modelJson(),
                  settings,
                  device,
                  kept.withBest(written, kept.score()),
                  parametersIn,
                  parametersOut,
                  quality,
                  fitted == null ? null : fitted.report(),
                  work,
                  console.warnings(),
                  new PruneReport.Timings(
                      loadSeconds, searchSeconds, writeSeconds, seconds(start), rates)));
    }
  }

  /** Says about how long all will take. */
  private void expect(
      SearchOptions.Chosen search,
      Backend backend,
      PackedSequences sequences,
      @Nullable FitText fitText,
      @Nullable EvaluationText evaluation) {
    JobEstimate estimate = new JobEstimate(model, backend);
    JobProgress job = console.job();
    int depth = model.config().numHiddenLayers();
    int target = search.target() == null ? depth : search.target();
    if (given == null) {
      job.expect(SearchLines.STAGE, estimate.search(search, sequences.size()));
    }
    if (fitText != null && search.fit() != null) {
      FitRun.expect(job, estimate, "", search.fit(), given == null, fitText, target);
    }
    job.expect(SIMILARITY, estimate.pass(sequences.size(), depth + target));
    if (evaluation != null) {
      job.expect(DENSE, estimate.pass(evaluation.windows(), depth));
      job.expect(PRUNED, estimate.pass(evaluation.windows(), target));
    }
    if (command.out != null) {
      job.expect(PruneCommand.WRITE, JobEstimate.write(model.checkpoint().totalBytes()));
    }
    console.expectation();
  }

  /** What a search came to, and what it took. */
  private record Searched(SearchResult result, Work work) {}

  private Searched search(
      SearchOptions.Chosen search,
      RunningModel running,
      CollapsePlan.Source source,
      PackedSequences sequences,
      SweepOptions sweep) {
    try (SweepScorer scorer = new SweepScorer(running, source, sequences, sweep)) {
      SearchLines lines = new SearchLines(console, best);
      SearchLines.SearchRun run = listener -> search.search().run(source, scorer, listener);
      SearchResult result =
          search.isOneLoop() ? lines.follow(run) : lines.summarise(run, search.objective());
      return new Searched(result, scorer.work());
    }
  }

  private Searched given(GivenPlan from) {
    console.line("search", "none: the plan of %s, %d layers", from.file(), from.plan().depth());
    return new Searched(SearchResult.known(from.plan()), Work.NONE);
  }

  private Score score(
      RunningModel running, CollapsePlan plan, NewWeights newWeights, PackedSequences sequences) {
    try (JobProgress.Stage _ = console.progress(SIMILARITY);
        PlannedLayers layers = running.pruned(plan, newWeights)) {
      CausalLm original = running.original();
      return ModelScore.of(original, layers.model(), sequences);
    }
  }

  /**
   * Null where nothing is fitted: the rule is none that does, or it was not asked for and there is
   * no text for this model.
   */
  private @Nullable FitText fitTextOrNull(SearchOptions.Chosen search) {
    if (search.fit() == null) {
      if (command.fit.text != null || command.fit.tokens != null) {
        throw new UsageException(
            "--fit-text and --fit-tokens go with a --rule that fits: "
                + String.join(", ", Rules.fitting())
                + " or auto");
      }
      return null;
    }
    return command.search.rule == null ? command.fit.textOrNull(model) : command.fit.text(model);
  }

  private void announce(
      Backends.Choice choice,
      CalibrationSet calibration,
      PackedSequences sequences,
      @Nullable EvaluationText evaluation,
      @Nullable FitText fitText) {
    console.line("device", "%s", choice.describe(model));
    console.line("model", "%s: %s", model.directory(), model.describe());
    console.line(
        "calibration",
        "%s: %d sentences, %,d tokens",
        calibration.name(),
        sequences.sequences(),
        sequences.size());
    calibration.warnings().forEach(console::warning);
    if (evaluation != null) {
      evaluation.warn(console, model, fitText);
    }
  }

  /** What one pass carries: it must not depend on what happens to be free, or no run repeats. */
  private SweepOptions sweep(SearchOptions.Chosen search, Backend backend, int tokens) {
    boolean streaming = MemoryPlan.streams(backend, model.checkpoint(), command.device);
    double passCost = PassCost.of(backend, model.weightType(), tokens, streaming);
    SweepOptions wanted =
        SweepOptions.of(search.candidates().applyAsInt(passCost)).withPassCost(passCost);
    ByteSize memory = command.device.memory;
    int merged = search.mergedAtOnce();
    SweepOptions bounded = wanted;
    if (memory != null) {
      long most = MemoryPlan.forBuffers(backend, model.checkpoint(), memory.bytes(), merged);
      bounded = wanted.withBytes(Math.max(0, most - scratchBytes(merged)));
    }
    return bounded.with(search.objective());
  }

  private MemoryPlan memory(
      Backend backend,
      SearchOptions.Chosen chosen,
      SweepOptions sweep,
      PackedSequences sequences,
      @Nullable EvaluationText evaluation,
      @Nullable FitText fitText) {
    long search = SweepScorer.bytes(model.config(), sequences.size(), sweep);
    long measure = evaluation == null ? 0 : Perplexity.bytes(model.config(), evaluation.windows());
    long fit = fitText == null ? 0 : CarryOver.bytes(backend, model.config(), fitText.windows());
    return MemoryPlan.of(
        backend,
        model.checkpoint(),
        command.device,
        new MemoryPlan.Beside(
            Math.max(Math.max(search, measure), fit) + scratchBytes(chosen.mergedAtOnce()),
            fitText == null || chosen.fit() == null
                ? 0
                : newWeights(model, chosen.fit(), chosen.target())),
        chosen.mergedAtOnce(),
        fitText == null
            ? "use fewer or shorter calibration sentences"
            : "use fewer --fit-tokens, or --rule align or drop, which make fewer weights anew");
  }

  /** Bytes of weights that a rule makes anew, one layer twice. */
  static long newWeights(OpenModel model, FitRule rule, @Nullable Integer target) {
    int layers = CarryOver.newLayers(rule, model.config().numHiddenLayers(), target);
    return (layers + 1) * MemoryPlan.layerBytes(model.checkpoint());
  }

  /** A mixed layer, at most in f32; none where layers are used as they are. */
  private long scratchBytes(int mergedAtOnce) {
    return mergedAtOnce == 1 ? 0 : parametersPerLayer(model) * Float.BYTES;
  }

  /** The search reads every layer in its first pass, but not the head. */
  static void requireFiniteOutsideLayers(OpenModel model) {
    Architecture architecture = model.config().architecture();
    Stream.of(architecture.embedding(), architecture.finalNorm(), architecture.head())
        .filter(model.checkpoint().weightNames()::contains)
        .forEach(model.checkpoint()::requireFinite);
  }

  /** Of one layer. */
  static long parametersPerLayer(OpenModel model) {
    return model.config().architecture().layerTensors(model.config()).stream()
        .mapToLong(TensorSpec::elements)
        .sum();
  }

  private PruneReport.Quality quality(
      RunningModel running,
      CollapsePlan plan,
      NewWeights newWeights,
      @Nullable EvaluationText evaluation) {
    if (evaluation == null) {
      return new PruneReport.NotMeasured(
          "the model has no tokenizer.json and no --eval-tokens were given");
    }
    CausalLm dense = running.original();
    Perplexity before = evaluation.measure(console, DENSE, model.directory(), dense);
    if (plan.isIdentity()) {
      return new PruneReport.Measured(evaluation.name(), before, before);
    }
    // Mixed tensors in the dtype they are written in: this is the checkpoint that a loader will
    // open.
    try (PlannedLayers layers = running.pruned(plan, newWeights)) {
      return new PruneReport.Measured(
          evaluation.name(),
          before,
          evaluation.measure(
              console, PRUNED, "the model pruned from " + model.directory(), layers.model()));
    }
  }

  /** The table of trials leads to the search's own model, which need not be the one written. */
  private void sayIfOther(CollapsePlan searched, FitRun.Outcome fitted) {
    if (!fitted.plan().skeleton().equals(searched.skeleton())) {
      console.plain(
          String.format(
              Locale.ROOT,
              "             chosen after a quick fit of %d models; that of the table, without %s, predicted worse",
              fitted.report().contenders().stream().filter(FitReport.Contender::fitted).count(),
              KeptLayers.ranges(KeptLayers.of(searched.skeleton()).removed())));
    }
  }

  private void say(FitReport fit) {
    if (fit.tokens() == 0) {
      console.line(
          "fit", "left out: on documents held out the merged model predicts better without");
      return;
    }
    console.line(
        "fit",
        "%s of %d matrices on %s, %,d tokens, by %s",
        fit.rule().label(),
        fit.result().fitted().size(),
        fit.text(),
        fit.tokens(),
        fit.solver());
    sayChoice(fit.contenders());
    if (!fit.result().leftAlone().isEmpty()) {
      console.plain(
          "             left as they are, since what they multiply is zero or beyond f32: "
              + abridged(fit.result().leftAlone()));
    }
    if (!fit.result().curve().isEmpty()) {
      console.plain(
          String.format(
              Locale.ROOT,
              "             held-out error %s after %s tokens",
              joined(
                  fit.result().curve(), point -> String.format(Locale.ROOT, "%.3f", point.error())),
              joined(
                  fit.result().curve(),
                  point -> String.format(Locale.ROOT, "%,d", point.tokens()))));
    }
  }

  /** {@code layer 3 down, layer 4 gate and 7 more}. */
  private static String abridged(List<CarryOver.LeftAlone> matrices) {
    String first =
        matrices.stream()
            .limit(MOST_NAMED)
            .map(
                matrix ->
                    String.format(
                        Locale.ROOT,
                        "layer %d %s",
                        matrix.layer(),
                        matrix.role().name().toLowerCase(Locale.ROOT)))
            .collect(Collectors.joining(", "));
    int more = matrices.size() - MOST_NAMED;
    return more > 0 ? first + " and " + more + " more" : first;
  }

  private void sayChoice(List<FitReport.Contender> contenders) {
    List<FitReport.Contender> fitted =
        contenders.stream().filter(FitReport.Contender::fitted).toList();
    console.plain(
        String.format(
            Locale.ROOT,
            "             nll of documents held out %.3f, with a quick fit the best of %d models %.3f",
            contenders.getFirst().meanNll(),
            fitted.size(),
            fitted.stream().mapToDouble(FitReport.Contender::meanNll).min().orElseThrow()));
  }

  private static <T> String joined(List<T> values, Function<T, String> text) {
    return values.stream().map(text).collect(Collectors.joining(", "));
  }

  private void sayQuality(PruneReport.Quality quality) {
    switch (quality) {
      case PruneReport.NotMeasured not ->
          console.resultLine("perplexity", "not measured: %s", not.reason());
      case PruneReport.Measured measured -> {
        double dense = measured.dense().perplexity();
        double pruned = measured.pruned().perplexity();
        console.resultLine(
            "perplexity",
            "%.2f → %.2f (%s, %,d tokens)",
            dense,
            pruned,
            measured.text(),
            measured.dense().tokens());
        if (!(pruned <= WARN_RATIO * dense)) {
          console.warning(
              String.format(
                  Locale.ROOT,
                  "perplexity rose from %.2f to %.2f: this model is damaged. Try a higher --threshold or more layers, a smaller --merge-layers,"
                      + " another --rule, or a lower --highest, which spares the last layers",
                  dense,
                  pruned));
        }
      }
    }
  }

  private ObjectNode modelJson() {
    return JsonNodeFactory.instance
        .objectNode()
        .put("path", model.directory().toString())
        .put("architecture", model.config().architecture().className())
        .put("modelType", model.config().architecture().modelType())
        .put("dtype", OpenModel.dtypes(model.checkpoint()))
        .put("bytes", model.checkpoint().totalBytes())
        .put("digest", model.checkpoint().digest());
  }

  private ObjectNode settings(
      SearchOptions.Chosen search,
      Backend backend,
      CalibrationSet calibration,
      PackedSequences sequences,
      @Nullable FitText fitText) {
    ObjectNode settings =
        search
            .settings()
            .put("compute", command.device.compute.name().toLowerCase(Locale.ROOT))
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

  /** Operations a second by the type of products, of those types that the device multiplies in. */
  private static SortedMap<String, Double> productRates(Backend backend) {
    SortedMap<String, Double> rates = new TreeMap<>();
    for (DType type : DType.values()) {
      double rate = backend.operationsPerSecond(type);
      if (rate > 0) {
        rates.put(type.shortName(), rate);
      }
    }
    return rates;
  }

  /** The type of the products of this model's matrices. */
  private String products(Backend backend) {
    return backend.productType(model.weightType()).shortName();
  }

  /** Seconds since {@code start}, a {@link System#nanoTime}. */
  static double seconds(long start) {
    return (System.nanoTime() - start) / 1e9;
  }
}
