package dev.laco.heal;

import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.laco.BadInputException;
import dev.laco.DeviceSettings;
import dev.laco.JobEvent;
import dev.laco.JobProgress;
import dev.laco.Model;
import dev.laco.Setting;
import dev.laco.apply.OutputFormat;
import dev.laco.apply.PlanApplier;
import dev.laco.apply.PlanTensors;
import dev.laco.backend.Backend;
import dev.laco.backend.MemoryArena;
import dev.laco.checkpoint.LockFile;
import dev.laco.collapse.CollapsePlan;
import dev.laco.measure.FidelityMeasure;
import dev.laco.model.HostTensor;
import dev.laco.model.ModelConfig;
import dev.laco.model.NewWeights;
import dev.laco.report.Fidelity;
import dev.laco.report.Perplexity;
import dev.laco.report.TrainingStart;
import dev.laco.run.EvaluationText;
import dev.laco.run.JobEstimate;
import dev.laco.run.JobTexts;
import dev.laco.run.MemoryPlan;
import dev.laco.run.ModelJob;
import dev.laco.run.OpenDevice;
import dev.laco.training.Distillation;
import dev.laco.training.Residence;
import dev.laco.training.Student;
import dev.laco.transformer.CausalLm;
import dev.laco.transformer.PlannedLayers;
import dev.laco.transformer.RunningModel;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.SortedMap;
import java.util.function.Function;
import org.jspecify.annotations.Nullable;

/**
 * One heal: layers of a pruned model are trained to predict what the original predicts. The result
 * can be written until the job is closed.
 */
@SuppressWarnings("exports")
public final class HealJob extends ModelJob<HealJob> implements AutoCloseable {
  private static final String BEFORE = "perplexity, before";
  private static final String AFTER = "perplexity, healed";
  private static final String WRITE = "write";

  private final Model original;
  private final HealRequest request;
  private final MemoryArena newMemory = new MemoryArena();
  private HealSettings settings;
  private int firstChanged = -1;
  private @Nullable Path stateFolder;
  private double stateSeconds;
  private @Nullable LockFile lock;
  private @Nullable HealState state;

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
    settings = request.heal();
  }

  /**
   * Keeps the state of the training in a folder from time to time, and goes on from the state that
   * is there. Once the healed model is written, the folder is deleted.
   *
   * @param everySeconds seconds from one state to the next, at least
   */
  public HealJob keptIn(Path folder, double everySeconds) {
    stateFolder = folder;
    stateSeconds = everySeconds;
    return this;
  }

  /** At most the bytes of the state that is kept: a new one is written before the old one goes. */
  public long mostStateBytes() {
    int first = settings.mayTrainAll(request.within()) ? 0 : firstTrained();
    int most = model.config().numHiddenLayers() - first;
    return 2 * HealStage.stateBytes(settings, model.checkpoint(), most);
  }

  /** What a state belongs to: the request, both models, and the device. */
  private HealState state(Path folder, OpenDevice opened, HealStage stage) {
    CollapsePlan.Source pruned = PlanApplier.source(model.checkpoint());
    ObjectNode identity =
        HealState.identity(
            request.toJson(),
            PlanApplier.source(original.checkpoint()),
            JobTexts.digest(stage.text()),
            opened.backend(),
            model.weightType());
    identity.put("pruned", pruned.digest() + pruned.weights());
    return new HealState(folder, identity, stateSeconds);
  }

  /** The healed model, not yet written. */
  public final class Healed {
    private final NewWeights weights;
    private final SortedMap<String, HostTensor> adapters;
    private final HealReport report;

    private Healed(HealStage.Outcome outcome, HealReport report) {
      this.weights = outcome.weights();
      this.adapters = outcome.adapters();
      this.report = report;
    }

    /** The adapters that were trained; empty where all tensors of the layers were. */
    public Optional<PeftAdapter> adapter() {
      return Optional.ofNullable(settings.adapters())
          .map(how -> new PeftAdapter(model, how, report.training().start(), adapters));
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
          model.checkpoint(),
          whole().withResults(results(report)),
          new PlanTensors(weights),
          format,
          HealJob.this::warn);
    }

    /**
     * Writes the healed checkpoint, which appears in one step once it is complete and verified.
     *
     * @param applier {@link #applier}
     * @param overwrite whether a checkpoint that is there is replaced
     * @param beforeItAppears runs when the checkpoint is complete; if it fails, so does the write
     * @throws dev.laco.UsageException if {@code out} is one of both models, or inside it or around
     *     it, or is there and may not be replaced
     */
    public void writeTo(
        Path out, boolean overwrite, PlanApplier applier, Runnable beforeItAppears) {
      PlanApplier.checkTarget(original.checkpoint(), out, overwrite, HealJob.this::warn);
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
      if (state != null) {
        state.delete();
      }
    }
  }

  /** What the model card says of the healed model; null where nothing was measured. */
  private static CollapsePlan.@Nullable Results results(HealReport report) {
    HealReport.Quality quality = report.quality();
    return quality == null
        ? null
        : quality
            .after()
            .results(
                quality.text(),
                quality.dense(),
                new CollapsePlan.Training(
                    report.training().start().tokens(),
                    quality.before().perplexity().perplexity()));
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
   * @throws dev.laco.ResourceException if the device cannot train, the memory does not suffice, or
   *     another job keeps its state in the same folder
   * @throws dev.laco.CancelledException if it was cancelled
   */
  public Healed run() {
    begin();
    if (stateFolder != null) {
      lock = HealState.lock(stateFolder);
    }
    // A model that was not made from the original is an error before the work.
    firstTrained();
    HealStage asked = HealStage.read(settings, original, request.within() != null);
    EvaluationText evaluation =
        JobTexts.evaluation(original, request.evaluation(), request.evaluationTokens());
    if (evaluation != null) {
      evaluation.warnings(original, List.of(asked.text())).forEach(this::warn);
    }
    model.textsAreRead();
    original.textsAreRead();
    try (OpenDevice opened = openDevice(false)) {
      Backend backend = opened.backend();
      HealStage.requireTrains(backend);
      if (stateFolder != null) {
        state = state(stateFolder, opened, asked);
      }
      chooseTrained(backend, asked, evaluation, earlier());
      HealStage read = asked.with(settings);
      int first = firstTrained();
      int trained = model.config().numHiddenLayers() - first;
      Residence residence = residence(backend, read, evaluation, trained);
      RunningModel dense = running(backend, read, evaluation, trained, residence);
      RunningModel student =
          new RunningModel(
              backend,
              model.config(),
              MemoryPlan.streamed(
                  backend,
                  model.checkpoint(),
                  reader(backend, model.checkpoint()),
                  prunedBytes(residence)));
      expect(backend, read, evaluation, trained, residence);
      HealStage stage = read.drawn(progress(), dense.original(), this::requireWanted);
      try (PlannedLayers layers = student.pruned(whole(), NewWeights.NONE);
          FidelityMeasure measure =
              evaluation == null ? null : evaluation.against(dense.original(), true)) {
        Perplexity densePerplexity =
            evaluation == null || measure == null
                ? null
                : measure(DENSE, evaluation, original.directory(), measure);
        Fidelity before = fidelity(BEFORE, evaluation, measure, layers.model());
        tell(new HealEvent.BetterModel(whole(), new PlanTensors(NewWeights.NONE)));
        HealStage.Outcome healed =
            stage.run(
                progress(),
                dense,
                new Student(layers.outside(), layers, first),
                request.within(),
                new Distillation.Place(newMemory, residence, scratch(), reserved()),
                listener(),
                state);
        layers.use(whole(), healed.weights());
        Fidelity after = fidelity(AFTER, evaluation, measure, layers.model());
        return new Healed(
            healed,
            new HealReport(
                request,
                opened.describe(original),
                healed.report(),
                evaluation == null || densePerplexity == null || before == null || after == null
                    ? null
                    : new HealReport.Quality(evaluation.name(), densePerplexity, before, after)));
      }
    }
  }

  /** The training of an earlier run of the same job; that of another job is an error. */
  private @Nullable TrainingStart earlier() {
    if (state == null) {
      return null;
    }
    try (HealState.@Nullable Kept kept = state.read().orElse(null)) {
      return kept == null ? null : kept.start();
    }
  }

  /**
   * Chooses which layers are trained within a time.
   *
   * @param earlier a training that goes on, with the layers that were chosen for it; null for none
   */
  private void chooseTrained(
      Backend backend,
      HealStage stage,
      @Nullable EvaluationText evaluation,
      @Nullable TrainingStart earlier) {
    if (settings.mayTrainAll(request.within())) {
      HealSettings all = settings.withLayers(HealSettings.Layers.ALL);
      int depth = model.config().numHiddenLayers();
      boolean trainsAll =
          earlier == null
              ? residence(backend, stage.with(all), evaluation, depth) == Residence.EVERYTHING
              : earlier.firstLayer() == 0;
      if (trainsAll) {
        settings = all;
      }
    }
  }

  private HealStage.Listener listener() {
    return new HealStage.Listener() {
      @Override
      public void told(HealEvent event) {
        tell(event);
      }

      @Override
      public void warned(String template) {
        warn(template);
      }

      @Override
      public void requireWanted() {
        HealJob.this.requireWanted();
      }

      @Override
      public void keeping() {
        kept(NewWeights.NONE);
      }

      @Override
      public void kept(NewWeights weights) {
        tell(new HealEvent.BetterModel(whole(), new PlanTensors(weights)));
      }
    };
  }

  private @Nullable Fidelity fidelity(
      String stage,
      @Nullable EvaluationText text,
      @Nullable FidelityMeasure measure,
      CausalLm pruned) {
    if (text == null || measure == null) {
      return null;
    }
    Fidelity fidelity = text.measure(progress(), stage, measure, pruned).pruned();
    tell(new JobEvent.Measured(stage, text.name(), fidelity.perplexity()));
    return fidelity;
  }

  /** As much of the training stays in memory as there is room for. */
  private Residence residence(
      Backend backend, HealStage stage, @Nullable EvaluationText evaluation, int trained) {
    return Residence.most(
        residence ->
            MemoryPlan.suffices(
                backend,
                original.checkpoint(),
                device,
                beside(backend, stage, evaluation, trained, residence),
                1));
  }

  /** Plans the memory. */
  private RunningModel running(
      Backend backend,
      HealStage stage,
      @Nullable EvaluationText evaluation,
      int trained,
      Residence residence) {
    return runningModel(
        backend,
        original,
        beside(backend, stage, evaluation, trained, residence),
        1,
        stage.elsewhere(backend, model.config(), trained, residence),
        settings.lora() == null
            ? "train adapters, which need less: " + Setting.of("lora")
            : "measure on a shorter text: " + Setting.of("evalText"));
  }

  private MemoryPlan.Beside beside(
      Backend backend,
      HealStage stage,
      @Nullable EvaluationText evaluation,
      int trained,
      Residence residence) {
    MemoryPlan.Beside training = stage.memory(backend, model.checkpoint(), trained, residence);
    long measuring =
        evaluation == null
            ? 0
            : FidelityMeasure.bytes(backend, model.config(), evaluation.chunks());
    long held =
        evaluation == null
            ? 0
            : FidelityMeasure.heldBytes(backend, model.config(), evaluation.chunks());
    return new MemoryPlan.Beside(
        Math.max(training.buffers(), measuring),
        training.held() + held,
        prunedBytes(residence),
        training.newWeights());
  }

  /** The most bytes of the pruned model's weights that stay in memory. */
  private long prunedBytes(Residence residence) {
    return residence.keepsMoments()
        ? model.checkpoint().weightBytes()
        : MemoryPlan.leastBytes(model.checkpoint());
  }

  private void expect(
      Backend backend,
      HealStage stage,
      @Nullable EvaluationText evaluation,
      int trained,
      Residence residence) {
    JobEstimate estimate = new JobEstimate(model, backend);
    int depth = model.config().numHiddenLayers();
    int dense = original.config().numHiddenLayers();
    double pass = evaluation == null ? 0 : estimate.pass(evaluation.chunks(), depth);
    if (evaluation != null) {
      progress().expect(DENSE, estimate.pass(evaluation.chunks(), dense));
      progress().expect(BEFORE, pass);
    }
    stage.expectSamples(progress(), estimate, backend, original.config());
    progress().expect(HealStage.NAME, 0);
    if (evaluation != null) {
      progress().expect(AFTER, pass);
    }
    progress().expect(WRITE, PlanApplier.estimatedSeconds(model.checkpoint().weightBytes()));
    double seconds = stage.seconds(backend, original, trained, residence, scratch());
    HealStage.expect(progress(), seconds, request.within());
    tellExpectation();
  }

  /**
   * The first layer that is trained. The weights of both models are compared by the first call
   * alone.
   *
   * @throws BadInputException if the pruned model is none of the original
   */
  private int firstTrained() {
    if (firstChanged < 0) {
      firstChanged = firstChanged();
    }
    return settings.firstTrained(firstChanged);
  }

  /** The first layer that is not the original's of the same number. */
  private int firstChanged() {
    requireSame("architecture", c -> c.architecture().className());
    requireSame("hidden_size", ModelConfig::hiddenSize);
    requireSame("vocab_size", ModelConfig::vocabSize);
    requireSame("num_attention_heads", ModelConfig::numAttentionHeads);
    requireSame("num_key_value_heads", ModelConfig::numKeyValueHeads);
    requireSame("head_dim", ModelConfig::headDim);
    requireSame("intermediate_size", ModelConfig::intermediateSize);
    String embedding = model.config().architecture().embedding();
    requireSameTensor(embedding, embedding);
    String head = model.config().head();
    String originalHead = original.config().head();
    if (!head.equals(embedding) || !originalHead.equals(embedding)) {
      // The pruned model's head is applied to the original's hidden states, too.
      requireSameTensor(head, originalHead);
    }
    int most = Math.min(model.config().numHiddenLayers(), original.config().numHiddenLayers()) - 1;
    int first = 0;
    while (first < most && sameLayer(first)) {
      first++;
    }
    return first;
  }

  private void requireSameTensor(String name, String ofOriginal) {
    if (!model.checkpoint().isSame(name, original.checkpoint(), ofOriginal)) {
      throw new BadInputException(
          String.format(
              Locale.ROOT,
              "%s: %s differs from that of %s: it was not pruned from it",
              model.directory(),
              name,
              original.directory()));
    }
  }

  private boolean sameLayer(int index) {
    ModelConfig config = model.config();
    return config.attention().get(index).equals(original.config().attention().get(index))
        && config.architecture().tensorNames(index, config).stream()
            .allMatch(name -> model.checkpoint().isSame(name, original.checkpoint(), name));
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

  /** Frees the memory of the trained weights, and lets others use the folder of the state. */
  @Override
  public void close() {
    newMemory.close();
    if (lock != null) {
      lock.delete();
      lock = null;
    }
  }
}
