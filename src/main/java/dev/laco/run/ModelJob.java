package dev.laco.run;

import dev.laco.Cancellation;
import dev.laco.DeviceSettings;
import dev.laco.JobEvent;
import dev.laco.JobProgress;
import dev.laco.Model;
import dev.laco.backend.Backend;
import dev.laco.checkpoint.Checkpoint;
import dev.laco.checkpoint.WeightReader;
import dev.laco.measure.FidelityMeasure;
import dev.laco.report.Perplexity;
import dev.laco.transformer.RunningModel;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.function.BiConsumer;
import java.util.function.Consumer;

/**
 * A job that runs a model on a device. This class has what all jobs share: a listener, a
 * cancellation, the progress, and the first steps, which open the device and plan the memory. A job
 * runs once, on one thread.
 *
 * @param <J> the job itself
 */
public abstract class ModelJob<J extends ModelJob<J>> {
  /**
   * The stage in which the perplexity of the original is measured, as {@link #progress()} names it.
   */
  public static final String DENSE = "perplexity, dense";

  /** The model that the job works on. */
  protected final Model model;

  /** Where the job computes, and how much memory it may take. */
  protected final DeviceSettings device;

  private final List<String> warnings = new ArrayList<>();
  private final List<WeightReader> readers = new ArrayList<>();
  private BiConsumer<? super JobEvent, ? super JobProgress.State> follower = (event, state) -> {};
  private String plannedMemory = "";
  private Path scratch = Path.of(System.getProperty("java.io.tmpdir"));
  private long reserved;
  private Cancellation cancellation = new Cancellation();
  private JobProgress progress = new JobProgress(JobProgress.StageListener.NONE);
  private boolean ownProgress = true;

  /** A job without a listener and without a cancellation. */
  protected ModelJob(Model model, DeviceSettings device) {
    this.model = model;
    this.device = device;
  }

  /** Sends the job's events to {@code to}, on the thread of the job. */
  public final J listener(Consumer<? super JobEvent> to) {
    return follower((event, state) -> to.accept(event));
  }

  /**
   * Events go to {@code to}, on the thread of the job, in place of a {@link #listener}; each with
   * how far the whole job has come by then.
   */
  public final J follower(BiConsumer<? super JobEvent, ? super JobProgress.State> to) {
    follower = to;
    return self();
  }

  /** Lets {@code token} end the job. */
  public final J cancelledBy(Cancellation token) {
    cancellation = token;
    return self();
  }

  /**
   * Names the folder for what does not fit into memory, in files without a name; by default the one
   * for temporary files.
   *
   * @param others bytes that other files of the job will take on the same disk, and for which these
   *     files leave room
   */
  public final J scratchIn(Path folder, long others) {
    scratch = folder;
    reserved = others;
    return self();
  }

  /** The folder for what does not fit into memory. */
  protected final Path scratch() {
    return scratch;
  }

  /** Bytes of that folder's disk that are left for other files. */
  protected final long reserved() {
    return reserved;
  }

  /**
   * Counts the stages of this job as stages of {@code job}, which may have others before and after
   * them, and whose time is running already.
   */
  public final J progressOf(JobProgress job) {
    progress = job;
    ownProgress = false;
    return self();
  }

  /**
   * Says that the job begins. Its time runs from here on, and not while the job waits to be run;
   * that of a job of which this one is a part goes on.
   */
  protected final void begin() {
    if (ownProgress) {
      progress.startClock();
    }
  }

  /** How far the job has come. Any thread may ask. */
  public final JobProgress progress() {
    return progress;
  }

  /** Makes another job a part of this one: with the same listener, cancellation and progress. */
  protected final <P extends ModelJob<P>> P part(P other) {
    return other.follower(follower).cancelledBy(cancellation).progressOf(progress);
  }

  @SuppressWarnings("unchecked")
  private J self() {
    return (J) this;
  }

  /** Sends an event to the listener. */
  protected final void tell(JobEvent event) {
    follower.accept(event, progress.state());
  }

  /** Sends a warning to the listener, in a message that may hold {@link dev.laco.Setting}s. */
  protected final void warn(String template) {
    JobEvent.Warned warned = new JobEvent.Warned(template);
    warnings.add(warned.message());
    tell(warned);
  }

  /** All warnings so far. */
  protected final List<String> warnings() {
    return List.copyOf(warnings);
  }

  /**
   * Opens the device, and tells of it and of the model. Closing the device ends the reading of all
   * weights.
   *
   * @param fits whether weights will be fitted, which not every device can do
   * @throws dev.laco.UsageException if there is no such device name
   * @throws dev.laco.ResourceException if the device cannot be used, or cannot fit
   */
  protected final OpenDevice openDevice(boolean fits) {
    OpenDevice opened = OpenDevice.open(device, model).afterwards(this::endReading);
    try {
      if (fits) {
        opened.requireSolver();
      }
      opened.warnings().forEach(this::warn);
      tell(new JobEvent.DeviceOpened(opened.backend().info().kind(), opened.describe(model)));
      tell(new JobEvent.ModelOpened(model.directory(), model.describe()));
      return opened;
    } catch (RuntimeException e) {
      opened.close();
      throw e;
    }
  }

  /**
   * Plans the memory, tells the listener of the plan, and gives the model on the device. Asking the
   * model for a layer ends the job if it was cancelled.
   *
   * @param mixed the most original layers that one layer is mixed from; 1 where layers are used as
   *     they are
   * @param helps what a user can do to need less memory beside the weights, for the message of an
   *     error
   * @throws dev.laco.ResourceException if the memory does not suffice
   */
  protected final RunningModel runningModel(
      Backend backend, MemoryPlan.Beside beside, int mixed, String helps) {
    return runningModel(backend, model, beside, mixed, helps);
  }

  /** The same of another model than the one that the job works on. */
  protected final RunningModel runningModel(
      Backend backend, Model other, MemoryPlan.Beside beside, int mixed, String helps) {
    return runningModel(backend, other, beside, mixed, "", helps);
  }

  /**
   * The same where not everything lies in memory.
   *
   * @param elsewhere what does not lie in memory, as people read it behind the plan
   */
  protected final RunningModel runningModel(
      Backend backend,
      Model other,
      MemoryPlan.Beside beside,
      int mixed,
      String elsewhere,
      String helps) {
    MemoryPlan memory = MemoryPlan.of(backend, other.checkpoint(), device, beside, mixed, helps);
    plannedMemory = memory.describe(backend) + elsewhere;
    tell(new JobEvent.MemoryPlanned(plannedMemory));
    return new RunningModel(
        backend,
        other.config(),
        new CancellableWeights(
            memory.weights(backend, reader(backend, other.checkpoint())), cancellation));
  }

  /**
   * Checks that the memory suffices, as {@link #runningModel} does, without running the model.
   *
   * @throws dev.laco.ResourceException if it does not
   */
  protected final void requireMemory(
      Backend backend, MemoryPlan.Beside beside, int mixed, String helps) {
    MemoryPlan.of(backend, model.checkpoint(), device, beside, mixed, helps);
  }

  /** A reader of a checkpoint's weights until the device is closed. */
  protected final WeightReader reader(Backend backend, Checkpoint checkpoint) {
    WeightReader reader = MemoryPlan.reader(backend, checkpoint);
    readers.add(reader);
    return reader;
  }

  /**
   * Ends the use of the job's model, of which no other use goes on, before its memory is planned
   * anew. Weights that all fit stay where they are; those that stream would be held beside the ones
   * of the next plan, and are given up.
   */
  protected final void endUse(RunningModel running) {
    Checkpoint checkpoint = model.checkpoint();
    if (!running.weights().fits(checkpoint.weightNames())) {
      running
          .backend()
          .release(checkpoint.weightNames().stream().map(checkpoint::placeOf).toList());
      readers.forEach(WeightReader::giveUpAll);
    }
    endReading();
  }

  private void endReading() {
    readers.forEach(WeightReader::close);
    readers.clear();
  }

  /** The memory that was planned, for people; empty before {@link #runningModel}. */
  protected final String plannedMemory() {
    return plannedMemory;
  }

  /**
   * Measures the perplexity of an original, and tells the listener.
   *
   * @param stage the name of the stage, as {@link #progress()} shows it
   * @param whose names the model in errors
   * @throws dev.laco.BadInputException if the perplexity is not finite
   */
  protected final Perplexity measure(
      String stage, EvaluationText text, Object whose, FidelityMeasure measure) {
    Perplexity perplexity = text.measure(progress, stage, whose, measure);
    tell(new JobEvent.Measured(stage, text.name(), perplexity));
    return perplexity;
  }

  /** What ends the job; for jobs that this one runs. */
  protected final Cancellation cancellation() {
    return cancellation;
  }

  /**
   * Ends the work of the caller if the job was cancelled.
   *
   * @throws dev.laco.CancelledException if it was
   */
  protected final void requireWanted() {
    cancellation.check();
  }

  /** Tells the listener about how long the job takes; called when every stage has been expected. */
  protected final void tellExpectation() {
    progress.expectation().ifPresent(description -> tell(new JobEvent.TimeEstimated(description)));
  }
}
