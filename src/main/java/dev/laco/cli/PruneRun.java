package dev.laco.cli;

import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.laco.apply.PlanApplier;
import dev.laco.apply.PlanTensors;
import dev.laco.backend.Backend;
import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.CollapseSettings;
import dev.laco.collapse.LayerCollapse;
import dev.laco.collapse.SearchResult;
import dev.laco.collapse.Trial;
import dev.laco.collapse.TrialListener;
import dev.laco.eval.Perplexity;
import dev.laco.model.Architecture;
import dev.laco.model.NewWeights;
import dev.laco.model.PackedSequences;
import dev.laco.model.TensorSource;
import dev.laco.model.TensorSpec;
import dev.laco.report.PruneReport;
import dev.laco.scoring.PlannedLayers;
import dev.laco.scoring.SweepOptions;
import dev.laco.scoring.SweepScorer;
import dev.laco.text.CalibrationSet;
import dev.laco.transformer.CausalLm;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Locale;
import java.util.Objects;
import java.util.function.Function;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/**
 * One prune, step by step: calibrate, search, measure, report. Writing the checkpoint is the
 * caller's.
 */
final class PruneRun {
  /** From so much perplexity on, relative to the dense model's, a user is warned. */
  private static final double WARN_RATIO = 2;

  private final PruneCommand command;
  private final Console console;
  private final OpenModel model;

  PruneRun(PruneCommand command, Console console, OpenModel model) {
    this.command = command;
    this.console = console;
    this.model = model;
  }

  /**
   * What was found, before anything is written.
   *
   * @param newTensors those of the plan
   * @param report makes the final report once the seconds of writing are known
   */
  record Outcome(
      CollapsePlan plan, PlanTensors newTensors, Function<@Nullable Double, PruneReport> report) {}

  Outcome run(long start) {
    int depth = model.config().numHiddenLayers();
    CollapsePlan.Source source = PlanApplier.source(model.checkpoint());
    CollapseSettings settings = command.search.settings(depth);
    Double threshold = command.search.threshold();
    int target = command.search.targetLayers(depth);
    CalibrationSet calibration = calibration();
    PackedSequences sequences = PackedSequences.of(calibration.sequences());
    EvaluationText evaluation = evaluationOrNull();
    Backends.Choice choice = command.device.open();
    try (Backend backend = choice.backend()) {
      announce(choice, calibration, sequences);
      MemoryPlan memory = memory(backend, settings, sequences, evaluation);
      console.line("memory", "%s", memory.describe(backend));
      TensorSource weights = memory.weights(backend);
      requireFiniteOutsideLayers();
      double loadSeconds = seconds(start);
      long searchStart = System.nanoTime();
      int sweeps;
      SearchResult result;
      try (SweepScorer scorer =
          new SweepScorer(
              backend, model.config(), weights, source, sequences, SweepOptions.of(1))) {
        LayerCollapse collapse = new LayerCollapse(settings, source, scorer);
        result = threshold != null ? byThreshold(collapse, threshold) : byTarget(collapse, target);
        sweeps = scorer.sweeps();
      }
      double searchSeconds = seconds(searchStart);
      PlanTensors newTensors = new PlanTensors(NewWeights.NONE);
      PruneReport.Quality quality =
          quality(backend, weights, result.plan(), newTensors.weights(), evaluation);
      long parametersIn = model.checkpoint().parameterCount();
      long parametersOut = parametersIn - (depth - result.plan().depth()) * parametersPerLayer();
      console.line(
          "result",
          "%d → %d layers, %,d → %,d parameters, similarity %.4f",
          depth,
          result.plan().depth(),
          parametersIn,
          parametersOut,
          result.finalSimilarity());
      if (result.plan().isIdentity()) {
        console.plain("             no merge was accepted: the model is unchanged");
      }
      sayQuality(quality);
      String device = backend.device();
      ObjectNode options = options(calibration, sequences, threshold == null ? target : null);
      return new Outcome(
          result.plan(),
          newTensors,
          writeSeconds ->
              new PruneReport(
                  modelJson(),
                  settings,
                  options,
                  device,
                  result,
                  parametersIn,
                  parametersOut,
                  quality,
                  sweeps,
                  new PruneReport.Timings(loadSeconds, searchSeconds, writeSeconds)));
    }
  }

  private CalibrationSet calibration() {
    Path own = model.directory().resolve("calibration.txt");
    if (command.calibration != null) {
      return CalibrationSet.read(command.calibration, model.target());
    }
    return Files.exists(own)
        ? CalibrationSet.read(own, model.target())
        : CalibrationSet.builtIn(model.target());
  }

  /** Null where there is nothing to measure on: no text was asked for and there is no tokenizer. */
  private @Nullable EvaluationText evaluationOrNull() {
    if (command.evaluation != null && command.evaluation.tokens != null) {
      return EvaluationText.tokens(command.evaluation.tokens, model);
    }
    if (command.evaluation != null && command.evaluation.text != null) {
      return EvaluationText.text(command.evaluation.text, model, 0, 0);
    }
    return model.tokenizer().isPresent() ? EvaluationText.ownOrBuiltIn(model, 0, 0) : null;
  }

  private void announce(
      Backends.Choice choice, CalibrationSet calibration, PackedSequences sequences) {
    console.line("device", "%s", choice.describe());
    console.line("model", "%s: %s", model.directory(), model.describe());
    console.line(
        "calibration",
        "%s: %d sentences, %,d tokens",
        calibration.name(),
        sequences.sequences(),
        sequences.size());
    calibration.warnings().forEach(console::warning);
  }

  private MemoryPlan memory(
      Backend backend,
      CollapseSettings settings,
      PackedSequences sequences,
      @Nullable EvaluationText evaluation) {
    long search = SweepScorer.bytes(model.config(), sequences.size(), SweepOptions.of(1));
    long measure = evaluation == null ? 0 : Perplexity.bytes(model.config(), evaluation.windows());
    // A mixed layer, at most in f32.
    long scratch = parametersPerLayer() * Float.BYTES;
    double[] coefficients = settings.rule().coefficients(settings.mergeLayers() - 1);
    return MemoryPlan.of(
        backend,
        model.checkpoint(),
        command.device,
        Math.max(search, measure) + scratch,
        (int) Arrays.stream(coefficients).filter(coefficient -> coefficient != 0).count(),
        "use fewer or shorter calibration sentences");
  }

  /** The search reads every layer in its first pass, but not the head. */
  private void requireFiniteOutsideLayers() {
    Architecture architecture = model.config().architecture();
    Stream.of(architecture.embedding(), architecture.finalNorm(), architecture.head())
        .filter(model.checkpoint().weightNames()::contains)
        .forEach(model.checkpoint()::requireFinite);
  }

  private long parametersPerLayer() {
    return model.config().architecture().layerTensors(model.config()).stream()
        .mapToLong(TensorSpec::elements)
        .sum();
  }

  private SearchResult byThreshold(LayerCollapse collapse, double threshold) {
    trialHeader();
    try (ProgressLine progress = console.progress("search")) {
      TrialListener advance = report(progress);
      return collapse.run(
          threshold,
          (trial, share) -> {
            say(trial);
            advance.onTrial(trial, share);
          });
    }
  }

  private SearchResult byTarget(LayerCollapse collapse, int target) {
    SearchResult result;
    try (ProgressLine progress = console.progress("search")) {
      result = collapse.reach(target, report(progress));
    }
    console.line(
        "search",
        "a depth of %d layers is reached at threshold %.6f",
        target,
        Objects.requireNonNull(result.threshold()));
    trialHeader();
    result.trials().forEach(this::say);
    return result;
  }

  private static TrialListener report(ProgressLine progress) {
    return (trial, share) -> progress.update(Math.round(share * 1000), 1000);
  }

  private void trialHeader() {
    console.plain("trial  base  merged  similarity  decision  depth");
  }

  private void say(Trial trial) {
    console.plain(
        String.format(
            Locale.ROOT,
            "%5d  %4d  %6d  %10.6f  %s  %5d",
            trial.step(),
            trial.base(),
            trial.merged(),
            trial.score().mean(),
            trial.accepted() ? "accepted" : "rejected",
            trial.layersAfter()));
  }

  private PruneReport.Quality quality(
      Backend backend,
      TensorSource weights,
      CollapsePlan plan,
      NewWeights newWeights,
      @Nullable EvaluationText evaluation) {
    if (evaluation == null) {
      return new PruneReport.NotMeasured(
          "the model has no tokenizer.json and no --eval-tokens were given");
    }
    CausalLm dense = CausalLm.of(backend, model.config(), weights);
    Perplexity before = evaluation.measure(console, "perplexity, dense", dense);
    if (plan.isIdentity()) {
      return new PruneReport.Measured(evaluation.name(), before, before);
    }
    // Mixed tensors in the dtype they are written in: this is the checkpoint that a loader will
    // open.
    try (PlannedLayers layers =
        new PlannedLayers(backend, model.config(), weights, plan, dtype -> dtype)) {
      layers.use(plan, newWeights);
      return new PruneReport.Measured(
          evaluation.name(),
          before,
          evaluation.measure(console, "perplexity, pruned", layers.model()));
    }
  }

  private void sayQuality(PruneReport.Quality quality) {
    switch (quality) {
      case PruneReport.NotMeasured not ->
          console.line("perplexity", "not measured: %s", not.reason());
      case PruneReport.Measured measured -> {
        double dense = measured.dense().perplexity();
        double pruned = measured.pruned().perplexity();
        console.line(
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

  private ObjectNode options(
      CalibrationSet calibration, PackedSequences sequences, @Nullable Integer target) {
    ObjectNode options = JsonNodeFactory.instance.objectNode();
    if (target != null) {
      options.put("targetLayers", target);
    }
    return options
        .put("compute", command.device.compute.name().toLowerCase(Locale.ROOT))
        .put("calibration", calibration.name())
        .put("calibrationSentences", sequences.sequences())
        .put("calibrationTokens", sequences.size());
  }

  /** Seconds since {@code start}, a {@link System#nanoTime}. */
  static double seconds(long start) {
    return (System.nanoTime() - start) / 1e9;
  }
}
