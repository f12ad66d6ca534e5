package dev.laco.heal;

import dev.laco.ByteSize;
import dev.laco.JobProgress;
import dev.laco.Model;
import dev.laco.ResourceException;
import dev.laco.backend.Backend;
import dev.laco.backend.Device;
import dev.laco.checkpoint.Checkpoint;
import dev.laco.model.HostTensor;
import dev.laco.model.ModelConfig;
import dev.laco.model.NewWeights;
import dev.laco.report.TrainingReport;
import dev.laco.run.JobEstimate;
import dev.laco.run.JobTexts;
import dev.laco.run.MemoryPlan;
import dev.laco.text.FitText;
import dev.laco.training.Adapters;
import dev.laco.training.Distillation;
import dev.laco.training.DistillationSettings;
import dev.laco.training.DistillationText;
import dev.laco.training.LabelShare;
import dev.laco.training.RangeTest;
import dev.laco.training.Residence;
import dev.laco.training.Student;
import dev.laco.transformer.AdamWState;
import dev.laco.transformer.CausalLm;
import dev.laco.transformer.RunningModel;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Objects;
import java.util.SortedMap;
import org.jspecify.annotations.Nullable;

/**
 * The stage of a job in which a pruned model is trained to predict what the original predicts.
 *
 * @param settings how the model is trained
 * @param text what the model is trained on
 * @param parts what is learnt from that text, and what is held out to measure on
 * @param samples that the original is to write, or may be if the time is worth it, and that are not
 *     drawn yet; null for none
 */
@SuppressWarnings("exports")
public record HealStage(
    HealSettings settings, FitText text, DistillationText parts, @Nullable TeacherSamples samples) {
  /** The name of the stage, as a job's progress shows it. */
  public static final String NAME = "heal";

  /**
   * Passes of a layer over a token for one step: forward, and twice backward; forward once more
   * where results do not stay in memory.
   */
  private static final int PASSES = 3;

  /**
   * Products with the head for a token: those of a step are the original's logits, the trained
   * model's and the gradient by hidden states; those of a measurement the original's logits once
   * and the trained model's twice.
   */
  private static final int HEADS = 3;

  /**
   * Reads the text.
   *
   * @param original the model that is imitated
   * @param timed whether it trains as long as a time allows
   * @throws dev.laco.BadInputException if the text cannot be used with the model, or is too short
   */
  public static HealStage read(HealSettings settings, Model original, boolean timed) {
    return of(settings, original, JobTexts.heal(original, settings.texts()), timed);
  }

  /** The stage that trains on a text that has been read. */
  public static HealStage of(HealSettings settings, Model original, FitText text, boolean timed) {
    Long tokens = settings.samples();
    boolean draws = tokens == null ? timed : tokens > 0;
    return new HealStage(
        settings,
        text,
        DistillationText.of(text, JobTexts.heldOut(text)),
        draws ? TeacherSamples.of(tokens, original) : null);
  }

  /** The same stage with other settings, of the same text and samples. */
  public HealStage with(HealSettings others) {
    return new HealStage(others, text, parts, samples);
  }

  /**
   * The stage with the samples that were asked for, which the original writes; this one where none
   * were.
   *
   * @param requireWanted is called between tokens
   */
  public HealStage drawn(JobProgress job, CausalLm original, Runnable requireWanted) {
    Long tokens = askedSamples();
    if (tokens == null) {
      return this;
    }
    try (JobProgress.Stage stage = job.begin(TeacherSamples.NAME)) {
      return drawn(original, _ -> tokens, stage::update, requireWanted);
    }
  }

  /** The tokens of samples that were asked for; null for none, and where the time decides. */
  private @Nullable Long askedSamples() {
    return samples == null ? null : samples.tokens();
  }

  /** The stage with samples that it draws. */
  HealStage drawn(
      CausalLm original,
      TeacherSamples.Wanted wanted,
      TeacherSamples.Progress progress,
      Runnable requireWanted) {
    TeacherSamples.Drawn drawn =
        Objects.requireNonNull(samples)
            .draw(original, text, parts.learnt(), settings.seed(), wanted, progress, requireWanted);
    List<FitText.Chunk> more = drawn.chunks();
    String name = String.format(Locale.ROOT, "%d samples of the original", more.size());
    FitText all = text.with(name, more);
    return new HealStage(
        settings.withSamples(drawn.tokens()),
        all,
        DistillationText.of(all, JobTexts.heldOut(all)),
        null);
  }

  /**
   * Checks that a device can train.
   *
   * @throws ResourceException that says why it cannot
   */
  public static void requireTrains(Backend backend) {
    String missing = backend.missingForTraining();
    if (missing != null) {
      throw new ResourceException(missing);
    }
  }

  /**
   * At most the memory that training takes.
   *
   * @param checkpoint of the original or of the pruned model
   * @param trained number of layers that are trained
   * @param residence what of them stays in memory
   */
  public MemoryPlan.Beside memory(
      Backend backend, Checkpoint checkpoint, int trained, Residence residence) {
    ModelConfig config = checkpoint.config();
    long parameters = trained * config.layerParameters();
    long weightBytes = weightBytes(checkpoint, trained);
    DistillationSettings how = how(backend, config, trained);
    long buffers = Distillation.bufferBytes(backend, config, parts, how, trained, residence);
    return new MemoryPlan.Beside(
        samples == null
            ? buffers
            : Math.max(buffers, TeacherSamples.bytes(backend, config, checkpoint.matrixType())),
        Distillation.layerBytes(config, how, parameters, weightBytes, trained, residence),
        0,
        weightBytes);
  }

  /** What of the training does not lie in memory, as people read it behind a memory plan. */
  public String elsewhere(Device device, ModelConfig config, int trained, Residence residence) {
    String where = settings.lora() == null ? shown(settings.held()) : "";
    if (!residence.keepsMoments()) {
      long parameters = trained * config.layerParameters();
      long bytes =
          Distillation.swappedBytes(config, how(parameters), parameters, trained, residence);
      where +=
          bytes == 0
              ? "; weights with adapters are made for one layer at a time"
              : String.format(Locale.ROOT, "; %s of the training in a file", ByteSize.show(bytes));
    }
    long states = Distillation.keptStateBytes(device, config, parts, wantedTokens());
    if (states > 0) {
      where +=
          String.format(
              Locale.ROOT, "; %s of the original's states in a file", ByteSize.show(states));
    }
    return where;
  }

  /** What AdamW holds, as people read it, where that is not everything in f32. */
  private static String shown(AdamWState held) {
    List<String> parts = new ArrayList<>();
    if (held.eightBit()) {
      parts.add("running means in 8 bits");
    }
    if (!held.masters()) {
      parts.add("no masters in f32");
    }
    return parts.isEmpty() ? "" : "; AdamW has " + String.join(" and ", parts);
  }

  /**
   * At most the bytes of a state of the training, as it is kept on the disk.
   *
   * @param trained number of layers that are trained
   */
  public static long stateBytes(HealSettings settings, Checkpoint checkpoint, int trained) {
    ModelConfig config = checkpoint.config();
    Adapters adapters = settings.adapters();
    int depth = config.numHiddenLayers();
    // What AdamW goes on from, and the best weights.
    AdamWState held = settings.held();
    return adapters == null
        ? Distillation.stateBytes(config, held, trained * config.layerParameters(), trained)
            + (held.masters() ? 1 : 2) * weightBytes(checkpoint, trained)
        : 4L * Float.BYTES * adapters.parameters(config, depth - trained, depth);
  }

  /** At most the bytes of the tensors of the layers that are trained, as they are written. */
  public static long weightBytes(Checkpoint checkpoint, int trained) {
    return trained * MemoryPlan.layerBytes(checkpoint);
  }

  /**
   * Estimated seconds of the stage, where no time is given.
   *
   * @param trained number of layers that are trained
   * @param residence what of them stays in memory
   * @param folder in which the rest lies
   * @throws ResourceException if the folder cannot be written
   */
  public double seconds(
      Device device, Model original, int trained, Residence residence, Path folder) {
    JobEstimate estimate = new JobEstimate(original, device);
    ModelConfig config = original.config();
    int depth = config.numHiddenLayers();
    long tokens = wantedTokens();
    boolean kept = Distillation.keptStateBytes(device, config, parts, tokens) > 0;
    DistillationSettings how = how(device, config, trained);
    long heldOut = parts.measured(tokens).stream().mapToLong(FitText::tokens).sum();
    long measurements = 1L + how.measurements(tokens);
    RangeTest test = RangeTest.of(tokens, how);
    long tested = settings.rate() != null ? 0 : test.trained();
    long judged = settings.rate() != null ? 0 : test.measured();
    long steps = tested + tokens;
    long measured = judged + measurements * heldOut;
    return estimate.layers(tested + (kept ? parts.tokens() : tokens), depth)
        + estimate.layers(steps, (PASSES + (residence.keepsResults() ? 0 : 1)) * trained)
        + estimate.layers(measured, trained)
        + HEADS * estimate.pass(steps + measured, 0)
        + Distillation.swapSeconds(
            parts,
            how,
            trained * config.layerParameters(),
            weightBytes(original.checkpoint(), trained),
            tokens,
            residence,
            folder);
  }

  /**
   * Expects the stage, once all others of the job are expected: where a time is given, for what
   * they leave of it.
   *
   * @param seconds {@link #seconds}
   * @param within seconds that the whole job may take; null for no limit
   */
  public static void expect(JobProgress job, double seconds, @Nullable Double within) {
    if (within == null) {
      job.expect(NAME, seconds);
    } else {
      job.expectRest(NAME, within);
    }
  }

  /** The tokens that were asked for, or those of the text and the samples. */
  public long wantedTokens() {
    long once = parts.tokens() + Objects.requireNonNullElse(askedSamples(), 0L);
    return settings.tokens() == null ? once : settings.tokens();
  }

  /** Expects the drawing of samples, where some are wanted. */
  public void expectSamples(
      JobProgress job, JobEstimate estimate, Device device, ModelConfig original) {
    Long tokens = askedSamples();
    if (tokens != null) {
      job.expect(TeacherSamples.NAME, TeacherSamples.seconds(estimate, device, original, tokens));
    }
  }

  /** How so many layers are trained on a device. */
  DistillationSettings how(Device device, ModelConfig config, int trained) {
    return how(trained * config.layerParameters()).on(device, config, trained);
  }

  private DistillationSettings how(long parameters) {
    DistillationSettings usual =
        DistillationSettings.forModel(parameters, settings.adapters(), settings.held());
    return new DistillationSettings(
        settings.stepTokens() == null ? usual.stepTokens() : settings.stepTokens(),
        settings.stepTokens() == null,
        usual.batchTokens(),
        usual.rate(),
        usual.decay(),
        usual.clip(),
        LabelShare.of(settings.labelShare()),
        usual.measurements(),
        settings.seed(),
        usual.adapters(),
        usual.held());
  }

  /** Is told what the stage does, on the thread of the job. */
  public interface Listener {
    /** Something happened. */
    void told(HealEvent event);

    /** A user should know something, in a message that may hold {@link dev.laco.Setting}s. */
    void warned(String template);

    /** Asks whether to go on; a job that is no longer wanted ends with an exception. */
    void requireWanted();

    /**
     * Better weights than all before are about to be kept, in the memory of those that {@link
     * #kept} told last.
     */
    default void keeping() {}

    /** These weights are the best so far. */
    default void kept(NewWeights weights) {}
  }

  /**
   * What the stage gave.
   *
   * @param weights the tensors of the trained layers; none where no step made the model better
   * @param adapters by name, those that these weights hold; empty where none are trained
   * @param measured the chunks on which the training was measured
   */
  public record Outcome(
      NewWeights weights,
      SortedMap<String, HostTensor> adapters,
      TrainingReport report,
      List<FitText.Chunk> measured) {
    public Outcome {
      measured = List.copyOf(measured);
    }
  }

  /**
   * Trains.
   *
   * @param original the model that is imitated
   * @param within seconds that the whole job may take; null where it trains on {@link
   *     #wantedTokens}
   * @param place where the training has its tensors
   * @param state where the training is kept from time to time, and from where it goes on; null for
   *     nowhere
   */
  public Outcome run(
      JobProgress job,
      RunningModel original,
      Student student,
      @Nullable Double within,
      Distillation.Place place,
      Listener listener,
      @Nullable HealState state) {
    return new HealRun(this, job, original, student, within, place, listener, state).run();
  }
}
