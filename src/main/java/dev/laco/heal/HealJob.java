package dev.laco.heal;

import dev.laco.BadInputException;
import dev.laco.DeviceSettings;
import dev.laco.JobEvent;
import dev.laco.JobProgress;
import dev.laco.Model;
import dev.laco.ResourceException;
import dev.laco.Seconds;
import dev.laco.Setting;
import dev.laco.apply.OutputFormat;
import dev.laco.apply.PlanApplier;
import dev.laco.apply.PlanTensors;
import dev.laco.backend.Backend;
import dev.laco.backend.MemoryArena;
import dev.laco.checkpoint.Checkpoint;
import dev.laco.collapse.CollapsePlan;
import dev.laco.measure.FidelityMeasure;
import dev.laco.model.ModelConfig;
import dev.laco.model.NewWeights;
import dev.laco.report.Fidelity;
import dev.laco.report.Perplexity;
import dev.laco.report.TrainingMeasurement;
import dev.laco.report.TrainingStep;
import dev.laco.run.EvaluationText;
import dev.laco.run.JobEstimate;
import dev.laco.run.JobTexts;
import dev.laco.run.MemoryPlan;
import dev.laco.run.ModelJob;
import dev.laco.run.OpenDevice;
import dev.laco.text.FitText;
import dev.laco.training.Distillation;
import dev.laco.training.DistillationSettings;
import dev.laco.training.DistillationText;
import dev.laco.training.Student;
import dev.laco.transformer.CausalLm;
import dev.laco.transformer.PlannedLayers;
import dev.laco.transformer.RunningModel;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.function.Consumer;
import java.util.function.Function;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;

/**
 * One heal: the layers of a pruned model behind its first gap are trained to predict what the
 * original predicts. The result can be written until the job is closed.
 */
@SuppressWarnings("exports")
public final class HealJob extends ModelJob<HealJob> implements AutoCloseable {
  /** The stage in which the model is trained, as {@link #progress()} names it. */
  public static final String TRAIN = "heal";

  private static final String BEFORE = "perplexity, before";
  private static final String AFTER = "perplexity, healed";
  private static final String WRITE = "write";

  /** Passes of a layer over a token for one step: forward, forward again, and twice backward. */
  private static final int PASSES = 4;

  /** The share of the time that is left that training is planned for: machines are not steady. */
  private static final double MARGIN = 0.95;

  private final Model original;
  private final HealRequest request;
  private final MemoryArena newMemory = new MemoryArena();

  /**
   * Prepares a heal.
   *
   * @param pruned the pruned model
   * @param original the model that it was pruned from
   */
  public HealJob(Model pruned, Model original, DeviceSettings device, HealRequest request) {
    super(pruned, device);
    this.original = original;
    this.request = request;
  }

  /** The healed model, not yet written. */
  public final class Healed {
    private final NewWeights weights;
    private final HealReport report;

    private Healed(NewWeights weights, HealReport report) {
      this.weights = weights;
      this.report = report;
    }

    /** What the job did. */
    public HealReport report() {
      return report;
    }

    /**
     * What writes the healed checkpoint to {@code out}; its warnings are the job's.
     *
     * @throws dev.laco.UsageException if the format is none that {@code out} can have
     * @throws BadInputException if a GGUF file cannot hold the model
     */
    public PlanApplier applier(OutputFormat format) {
      return new PlanApplier(
          model.checkpoint(), whole(), new PlanTensors(weights), format, HealJob.this::warn);
    }

    /**
     * Writes the healed checkpoint, which appears in one step once it is complete and verified.
     *
     * @param applier {@link #applier}
     * @param overwrite whether a checkpoint that is there is replaced
     * @param beforeItAppears runs when the checkpoint is complete; if it fails, so does the write
     */
    public void writeTo(
        Path out, boolean overwrite, PlanApplier applier, Runnable beforeItAppears) {
      try (JobProgress.Stage stage = progress().begin(WRITE)) {
        applier.write(
            out,
            overwrite,
            more -> {
              requireWanted();
              stage.advance(more, applier.tensorBytes());
            },
            beforeItAppears);
      }
      tell(new JobEvent.FileWritten(out, applier.tensorBytes()));
    }
  }

  /** The plan that leaves the pruned model's layers as they are. */
  private CollapsePlan whole() {
    return CollapsePlan.identity(PlanApplier.source(model.checkpoint()));
  }

  /**
   * Runs the job.
   *
   * @throws BadInputException if the pruned model was not made from the original, or a text cannot
   *     be used
   * @throws ResourceException if the device cannot train, or the memory does not suffice
   * @throws dev.laco.CancelledException if it was cancelled
   */
  public Healed run() {
    int first = firstTrained();
    FitText text = JobTexts.heal(original, request.text());
    DistillationText parts = DistillationText.of(text, JobTexts.heldOut(text));
    EvaluationText evaluation =
        JobTexts.evaluation(original, request.evaluation(), request.evaluationTokens());
    if (evaluation != null) {
      evaluation.warnings(original, text).forEach(this::warn);
    }
    model.textsAreRead();
    original.textsAreRead();
    int depth = model.config().numHiddenLayers();
    long parameters =
        IntStream.range(first, depth).mapToLong(model.config()::layerParameters).sum();
    DistillationSettings settings = settings(parameters);
    try (OpenDevice opened = openDevice(false)) {
      Backend backend = opened.backend();
      String missing = backend.missingForTraining();
      if (missing != null) {
        throw new ResourceException(missing);
      }
      RunningModel dense = running(backend, parts, evaluation, settings, parameters, first);
      RunningModel student = new RunningModel(backend, model.config(), model.checkpoint());
      expect(backend, parts, evaluation, settings, first);
      List<TrainingStep> steps = new ArrayList<>();
      try (PlannedLayers layers = student.pruned(whole(), NewWeights.NONE)) {
        Perplexity densePerplexity =
            evaluation == null
                ? null
                : measure(DENSE, evaluation, original.directory(), dense.original());
        double measured = progress().seconds();
        Fidelity before = fidelity(BEFORE, evaluation, dense, layers.model());
        double measuring = progress().seconds() - measured;
        long start = System.nanoTime();
        HealEvent.Started started;
        Distillation.Result result;
        try (Distillation distillation =
            new Distillation(
                dense, new Student(layers.outside(), layers, first), parts, settings, newMemory)) {
          long tokens = tokens(distillation, parts, settings, measuring);
          started =
              new HealEvent.Started(
                  text.name(),
                  tokens,
                  distillation.steps(tokens),
                  first,
                  depth - first,
                  parameters,
                  settings.rate());
          tell(started);
          try (JobProgress.Stage stage = progress().begin(TRAIN)) {
            result = distillation.run(tokens, listener(steps::add, stage, tokens));
          }
        }
        double seconds = Seconds.since(start);
        layers.use(whole(), result.weights());
        Fidelity after = fidelity(AFTER, evaluation, dense, layers.model());
        return new Healed(
            result.weights(),
            new HealReport(
                request,
                started,
                opened.describe(original),
                steps,
                result.measurements(),
                result.best(),
                evaluation == null || densePerplexity == null || before == null || after == null
                    ? null
                    : new HealReport.Quality(evaluation.name(), densePerplexity, before, after),
                seconds));
      }
    }
  }

  private @Nullable Fidelity fidelity(
      String stage, @Nullable EvaluationText text, RunningModel dense, CausalLm pruned) {
    if (text == null) {
      return null;
    }
    Fidelity fidelity = text.measure(progress(), stage, dense.original(), pruned);
    tell(new JobEvent.Measured(stage, text.name(), fidelity.perplexity()));
    return fidelity;
  }

  private Distillation.Listener listener(
      Consumer<TrainingStep> kept, JobProgress.Stage stage, long tokens) {
    return new Distillation.Listener() {
      @Override
      public void stepped(TrainingStep step) {
        requireWanted();
        kept.accept(step);
        stage.update(step.tokens(), tokens);
        stage.note(
            String.format(
                Locale.ROOT, "step %d of %d, loss %.3f", step.number(), step.of(), step.loss()));
        tell(new HealEvent.Stepped(step));
      }

      @Override
      public void measured(TrainingMeasurement measurement) {
        tell(new HealEvent.HeldOutMeasured(measurement));
      }
    };
  }

  /**
   * The tokens on which to train: those that were asked for, as many as fit into the time that was
   * asked for, or the text once.
   *
   * @param measuring seconds that measuring the healed model will take
   */
  private long tokens(
      Distillation distillation,
      DistillationText text,
      DistillationSettings settings,
      double measuring) {
    if (request.within() == null) {
      return wanted(text);
    }
    Distillation.Pace pace = distillation.pace();
    double left =
        request.within()
            - progress().seconds()
            - measuring
            - PlanApplier.estimatedSeconds(model.checkpoint().weightBytes())
            - (settings.measurements() + 1) * pace.measurement();
    return Math.max(settings.stepTokens(), (long) (left * MARGIN / pace.token()));
  }

  /** The tokens that were asked for, or the text once. */
  private long wanted(DistillationText text) {
    return request.tokens() == null ? text.tokens() : request.tokens();
  }

  private DistillationSettings settings(long parameters) {
    DistillationSettings usual = DistillationSettings.forModel(parameters);
    return new DistillationSettings(
        request.stepTokens() == null ? usual.stepTokens() : request.stepTokens(),
        usual.batchTokens(),
        request.rate() == null ? usual.rate() : request.rate(),
        usual.finalRate(),
        usual.warmup(),
        usual.decay(),
        usual.clip(),
        request.labelShare(),
        usual.measurements(),
        request.seed());
  }

  /** Plans the memory. */
  private RunningModel running(
      Backend backend,
      DistillationText text,
      @Nullable EvaluationText evaluation,
      DistillationSettings settings,
      long parameters,
      int first) {
    long weightBytes =
        IntStream.range(first, model.config().numHiddenLayers())
            .mapToLong(model.checkpoint()::layerBytes)
            .sum();
    long training =
        Distillation.bytes(
            backend,
            model.config(),
            text,
            settings,
            parameters,
            weightBytes,
            model.config().numHiddenLayers() - first);
    long measuring =
        evaluation == null ? 0 : FidelityMeasure.bytes(model.config(), evaluation.chunks());
    // On a device with memory of its own the pruned model's weights lie beside the original's.
    long other = backend.info().copiesWeights() ? model.checkpoint().weightBytes() : 0;
    MemoryPlan.Beside beside =
        new MemoryPlan.Beside(Math.max(training, measuring) + other, weightBytes);
    return runningModel(backend, original, beside, 1, "use a smaller " + Setting.of("stepTokens"));
  }

  private void expect(
      Backend backend,
      DistillationText text,
      @Nullable EvaluationText evaluation,
      DistillationSettings settings,
      int first) {
    JobEstimate estimate = new JobEstimate(model, backend);
    int depth = model.config().numHiddenLayers();
    int dense = original.config().numHiddenLayers();
    double both = 0;
    if (evaluation != null) {
      double pass = estimate.pass(evaluation.chunks(), dense);
      both = pass + estimate.pass(evaluation.chunks(), depth);
      progress().expect(DENSE, pass);
      progress().expect(BEFORE, both);
    }
    long heldOut = text.heldOut().stream().mapToLong(FitText.Chunk::length).sum();
    int passes = dense + PASSES * (depth - first);
    double train =
        estimate.pass(wanted(text), passes)
            + estimate.pass((settings.measurements() + 1) * heldOut, depth - first);
    progress().expect(TRAIN, request.within() == null ? train : request.within());
    if (evaluation != null) {
      progress().expect(AFTER, both);
    }
    progress().expect(WRITE, PlanApplier.estimatedSeconds(model.checkpoint().weightBytes()));
    tellExpectation();
  }

  /**
   * The first layer that is trained: the first one that is not the original's of the same number.
   *
   * @throws BadInputException if the pruned model is none of the original
   */
  private int firstTrained() {
    requireSame("architecture", c -> c.architecture().className());
    requireSame("hidden_size", ModelConfig::hiddenSize);
    requireSame("vocab_size", ModelConfig::vocabSize);
    requireSame("num_attention_heads", ModelConfig::numAttentionHeads);
    requireSame("num_key_value_heads", ModelConfig::numKeyValueHeads);
    requireSame("head_dim", ModelConfig::headDim);
    requireSame("intermediate_size", ModelConfig::intermediateSize);
    Checkpoint pruned = model.checkpoint();
    Checkpoint dense = original.checkpoint();
    String embedding = model.config().architecture().embedding();
    if (!sameBytes(pruned, dense, embedding)) {
      throw new BadInputException(
          String.format(
              Locale.ROOT,
              "%s: %s differs from that of %s: it was not pruned from it",
              model.directory(),
              embedding,
              original.directory()));
    }
    int most = Math.min(model.config().numHiddenLayers(), original.config().numHiddenLayers()) - 1;
    int first = 0;
    while (first < most && sameLayer(first)) {
      first++;
    }
    return first;
  }

  private boolean sameLayer(int index) {
    ModelConfig config = model.config();
    return config.attention().get(index).equals(original.config().attention().get(index))
        && config.architecture().tensorNames(index, config).stream()
            .allMatch(name -> sameBytes(model.checkpoint(), original.checkpoint(), name));
  }

  private static boolean sameBytes(Checkpoint pruned, Checkpoint dense, String name) {
    return pruned.tensor(name).dtype() == dense.tensor(name).dtype()
        && pruned.tensor(name).data().mismatch(dense.tensor(name).data()) < 0;
  }

  private void requireSame(String what, Function<ModelConfig, Object> value) {
    Object found = value.apply(model.config());
    Object expected = value.apply(original.config());
    if (!found.equals(expected)) {
      throw new BadInputException(
          String.format(
              Locale.ROOT,
              "%s: %s is %s, and %s in %s: %s must name the model that it was pruned from",
              model.directory(),
              what,
              found,
              expected,
              original.directory(),
              Setting.of("teacher")));
    }
  }

  /** Frees the memory of the trained weights. */
  @Override
  public void close() {
    newMemory.close();
  }
}
