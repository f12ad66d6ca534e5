package dev.laco.heal;

import static java.nio.charset.StandardCharsets.UTF_8;

import dev.laco.ByteSize;
import dev.laco.JobProgress;
import dev.laco.Model;
import dev.laco.ResourceException;
import dev.laco.Seconds;
import dev.laco.backend.Backend;
import dev.laco.checkpoint.Checkpoint;
import dev.laco.checkpoint.Sha256;
import dev.laco.model.HostTensor;
import dev.laco.model.ModelConfig;
import dev.laco.model.NewWeights;
import dev.laco.report.RateTrial;
import dev.laco.report.TrainingMeasurement;
import dev.laco.report.TrainingReport;
import dev.laco.report.TrainingStart;
import dev.laco.report.TrainingStep;
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
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.SortedMap;
import java.util.function.BooleanSupplier;
import java.util.function.DoubleSupplier;
import org.jspecify.annotations.Nullable;

/**
 * The stage of a job in which a pruned model is trained to predict what the original predicts.
 *
 * @param settings how the model is trained
 * @param text what the model is trained on
 * @param parts what is learnt from that text, and what is held out to measure on
 * @param samples that the original is to write and that are not drawn yet; null for none
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

  /** The share of the time that is left that training is planned for: machines are not steady. */
  private static final double MARGIN = 0.97;

  /** Of what later stages are expected to take, what a training leaves them of a time. */
  private static final double RESERVE = 1.25;

  /**
   * Reads the text.
   *
   * @param original the model that is imitated
   * @throws dev.laco.BadInputException if the text cannot be used with the model, or is too short
   */
  public static HealStage read(HealSettings settings, Model original) {
    return of(settings, original, JobTexts.heal(original, settings.texts()));
  }

  /** The stage that trains on a text that has been read. */
  public static HealStage of(HealSettings settings, Model original, FitText text) {
    return new HealStage(
        settings,
        text,
        DistillationText.of(text, JobTexts.heldOut(text)),
        TeacherSamples.of(settings.samples(), original));
  }

  /** The same stage with other settings, of the same text and samples. */
  public HealStage with(HealSettings others) {
    return new HealStage(others, text, parts, samples);
  }

  /**
   * The stage with the samples that the original writes, which it draws; this one where none are
   * wanted.
   *
   * @param requireWanted is called between tokens
   */
  public HealStage drawn(JobProgress job, CausalLm original, Runnable requireWanted) {
    if (samples == null) {
      return this;
    }
    try (JobProgress.Stage stage = job.begin(TeacherSamples.NAME)) {
      List<FitText.Chunk> more =
          samples.draw(stage, original, text, parts.learnt(), settings.seed(), requireWanted);
      String name = String.format(Locale.ROOT, "%d samples of the original", more.size());
      FitText all = text.with(name, more);
      return new HealStage(settings, all, DistillationText.of(all, JobTexts.heldOut(all)), null);
    }
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
    DistillationSettings how = how(parameters);
    long buffers = Distillation.bufferBytes(backend, config, parts, how, trained, residence);
    return new MemoryPlan.Beside(
        samples == null
            ? buffers
            : Math.max(
                buffers, TeacherSamples.bytes(backend, config, Model.weightType(checkpoint))),
        Distillation.layerBytes(config, how, parameters, weightBytes, trained, residence),
        0,
        weightBytes);
  }

  /** What of the training does not lie in memory, as people read it behind a memory plan. */
  public String elsewhere(ModelConfig config, int trained, Residence residence) {
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
    long states = Distillation.keptStateBytes(parts, wantedTokens(), config.hiddenSize());
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
   * @param config of the original
   * @param trained number of layers that are trained
   * @param residence what of them stays in memory
   */
  public double seconds(
      JobEstimate estimate, ModelConfig config, int trained, Residence residence) {
    int depth = config.numHiddenLayers();
    long tokens = wantedTokens();
    boolean kept = Distillation.keptStateBytes(parts, tokens, 1) > 0;
    DistillationSettings how = how(trained * config.layerParameters());
    long heldOut = parts.measured(tokens, how).stream().mapToLong(FitText::tokens).sum();
    long measurements = 1L + how.measurements(tokens);
    RangeTest test = RangeTest.of(tokens, how);
    long tested = settings.rate() != null ? 0 : test.trained();
    long judged = settings.rate() != null ? 0 : test.measured(how);
    long steps = tested + tokens;
    long measured = judged + measurements * heldOut;
    return estimate.layers(tested + (kept ? parts.tokens() : tokens), depth)
        + estimate.layers(steps, (PASSES + (residence.keepsResults() ? 0 : 1)) * trained)
        + estimate.layers(measured, trained)
        + HEADS * estimate.pass(steps + measured, 0);
  }

  /**
   * Estimated seconds in which the training reads and writes what does not lie in memory.
   *
   * @param trained number of layers that are trained
   * @param residence what of them stays in memory
   * @param folder in which the rest lies
   * @throws ResourceException if the folder cannot be written
   */
  public double swapSeconds(Checkpoint checkpoint, int trained, Residence residence, Path folder) {
    long parameters = trained * checkpoint.config().layerParameters();
    return Distillation.swapSeconds(
        parts,
        how(parameters),
        parameters,
        weightBytes(checkpoint, trained),
        wantedTokens(),
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
    long once = parts.tokens() + (samples == null ? 0 : samples.tokens());
    return settings.tokens() == null ? once : settings.tokens();
  }

  /** The held-out chunks on which a training was measured. */
  public List<FitText.Chunk> measured(TrainingStart training) {
    return parts.measured(training.tokens(), how(training.parameters())).stream()
        .flatMap(List::stream)
        .toList();
  }

  /** Expects the drawing of samples, where some are wanted. */
  public void expectSamples(JobProgress job, JobEstimate estimate, int depth) {
    if (samples != null) {
      job.expect(TeacherSamples.NAME, samples.seconds(estimate, depth));
    }
  }

  /** A hash of a text as token ids. */
  public static String digest(FitText text) {
    Sha256 hash = new Sha256();
    for (FitText.Chunk chunk : text.chunks()) {
      hash.update((Arrays.toString(chunk.ids()) + chunk.document()).getBytes(UTF_8));
    }
    return hash.hex();
  }

  private DistillationSettings how(long parameters) {
    DistillationSettings usual =
        DistillationSettings.forModel(parameters, settings.adapters(), settings.held());
    return new DistillationSettings(
        settings.stepTokens() == null ? usual.stepTokens() : settings.stepTokens(),
        settings.stepTokens() == null ? usual.fewSteps() : 0,
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
   */
  public record Outcome(
      NewWeights weights, SortedMap<String, HostTensor> adapters, TrainingReport report) {}

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
    int trained = student.layers().depth() - student.first();
    DistillationSettings how = how(trained * original.config().layerParameters());
    long begin = System.nanoTime();
    try (JobProgress.Stage stage = job.begin(NAME);
        Distillation training = new Distillation(original, student, parts, how, place);
        HealState.@Nullable Kept kept = state == null ? null : state.read().orElse(null)) {
      DoubleSupplier left =
          () -> within == null ? 0 : within - job.seconds() - RESERVE * job.mostLeftBeside(NAME);
      // A training that was interrupted goes on to the tokens that were planned.
      Distillation.Pace pace =
          within != null && kept == null ? training.pace(settings.rate() != null) : null;
      TrainingStart start;
      double before = 0;
      if (kept == null) {
        start = start(training, how, student, trained, pace, left, listener);
        listener.told(new HealEvent.Started(start));
      } else {
        start = kept.start();
        before = kept.seconds();
        listener.told(new HealEvent.Resumed(start, kept.reached().steps().size()));
      }
      Clock clock = new Clock(begin, before);
      int measured = parts.measured(start.tokens(), how).size();
      // Another step must leave time for the measurement at the end.
      BooleanSupplier timeIsUp =
          () ->
              pace != null
                  && left.getAsDouble()
                      <= how.stepTokens(start.tokens()) * pace.token() + measured * pace.batch();
      Distillation.Listener telling =
          new Telling(listener, stage, start, training, state, clock, timeIsUp);
      Distillation.Result result =
          kept == null
              ? training.run(start.tokens(), start.rate(), telling)
              : training.resume(
                  kept.reached(), kept::tensor, start.tokens(), start.rate(), telling);
      Distillation.Reached reached = result.reached();
      return new Outcome(
          result.weights(),
          result.adapters(),
          new TrainingReport(
              start,
              reached.steps(),
              result.originalNll(),
              reached.measurements(),
              reached.best(),
              clock.seconds()));
    }
  }

  /**
   * Decides on tokens and learning rate.
   *
   * @param pace null where no time is given
   * @param left the seconds of that time that are left to the stage
   */
  private TrainingStart start(
      Distillation training,
      DistillationSettings how,
      Student student,
      int trained,
      Distillation.@Nullable Pace pace,
      DoubleSupplier left,
      Listener listener) {
    long tokens = pace == null ? wantedTokens() : tokens(pace, left.getAsDouble(), how);
    double rate;
    List<RateTrial> trials = List.of();
    if (settings.rate() == null) {
      Distillation.FoundRate found = training.findRate(tokens, listener::requireWanted);
      rate = found.rate();
      trials = found.trials();
      if (pace != null) {
        // Its last steps tell the pace better than the first step of all.
        tokens = tokens(pace.withToken(found.token()), left.getAsDouble(), how);
      }
    } else {
      rate = settings.rate();
    }
    return new TrainingStart(
        text.name(),
        tokens,
        training.steps(tokens),
        student.first(),
        trained,
        training.parameters(),
        settings.lora(),
        rate,
        how.labels().share(),
        trials);
  }

  /**
   * The time that a training takes.
   *
   * @param begin a {@link System#nanoTime}
   * @param before seconds that it took before it was interrupted
   */
  private record Clock(long begin, double before) {
    double seconds() {
      return before + Seconds.since(begin);
    }
  }

  /** As many tokens as fit into a time with their measurements, at least those of one step. */
  private long tokens(Distillation.Pace pace, double seconds, DistillationSettings how) {
    long tokens = 0;
    // More tokens have larger measurements, and more of them; this settles.
    for (int i = 0; i < 6; i++) {
      // The pace is that of a batch that need not be measured again before the first step.
      int batches = (how.measurements(tokens) + 1) * parts.measured(tokens, how).size() - 1;
      double left = (seconds - batches * pace.batch()) * MARGIN;
      tokens = Math.max(how.stepTokens(0), (long) (left / pace.token()));
    }
    return tokens;
  }

  /** Tells what happens, and keeps the state. */
  private record Telling(
      Listener to,
      JobProgress.Stage stage,
      TrainingStart start,
      Distillation training,
      @Nullable HealState state,
      Clock clock,
      BooleanSupplier over)
      implements Distillation.Listener {
    @Override
    public boolean timeIsUp() {
      return over.getAsBoolean();
    }

    @Override
    public void stepped(TrainingStep step) {
      to.requireWanted();
      stage.update(step.tokens(), start.tokens());
      stage.note(
          String.format(
              Locale.ROOT, "step %d of %d, loss %.3f", step.number(), step.of(), step.loss()));
      to.told(new HealEvent.Stepped(step));
    }

    @Override
    public void measured(TrainingMeasurement measurement) {
      to.told(new HealEvent.HeldOutMeasured(measurement));
    }

    @Override
    public void keeping() {
      to.keeping();
    }

    @Override
    public void kept(NewWeights weights) {
      to.kept(weights);
    }

    @Override
    public void reached(Distillation.Reached reached) {
      if (state != null) {
        state.keep(start, training, reached, clock.seconds());
      }
    }
  }
}
