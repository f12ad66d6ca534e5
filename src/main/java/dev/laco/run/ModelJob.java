package dev.laco.run;

import dev.laco.Cancellation;
import dev.laco.DeviceSettings;
import dev.laco.JobEvent;
import dev.laco.JobProgress;
import dev.laco.Model;
import dev.laco.backend.Backend;
import dev.laco.report.Perplexity;
import dev.laco.transformer.CausalLm;
import dev.laco.transformer.RunningModel;
import java.util.ArrayList;
import java.util.List;
import java.util.function.BiConsumer;
import java.util.function.Consumer;

/**
 * A job that runs a model on a device: who is told of it, who may end it, how far it has come, and
 * the steps that all jobs begin with. A job runs once, on one thread.
 *
 * @param <J> the job itself
 */
public abstract class ModelJob<J extends ModelJob<J>> {
  /**
   * The stage in which the perplexity of the original is measured, as {@link #progress} names it.
   */
  public static final String DENSE = "perplexity, dense";

  /** The model that the job works on. */
  protected final Model model;

  /** Where the job computes, and how much memory it may take. */
  protected final DeviceSettings device;

  private final List<String> warnings = new ArrayList<>();
  private BiConsumer<? super JobEvent, ? super JobProgress.State> follower = (event, state) -> {};
  private Cancellation cancellation = new Cancellation();
  private JobProgress progress = new JobProgress(JobProgress.StageListener.NONE);

  /** A job that nobody is told of and nobody cancels. */
  protected ModelJob(Model model, DeviceSettings device) {
    this.model = model;
    this.device = device;
  }

  /** Events go to {@code to}, on the thread of the job. */
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

  /** The job ends when {@code token} says so. */
  public final J cancelledBy(Cancellation token) {
    cancellation = token;
    return self();
  }

  /** The job's stages are those of {@code job}, which may have others before and after. */
  public final J progressOf(JobProgress job) {
    progress = job;
    return self();
  }

  /** How far the job has come; may be asked by any thread. */
  public final JobProgress progress() {
    return progress;
  }

  @SuppressWarnings("unchecked")
  private J self() {
    return (J) this;
  }

  /** Tells the listener. */
  protected final void tell(JobEvent event) {
    follower.accept(event, progress.state());
  }

  /** Warns a user, in a message that may hold {@link dev.laco.Setting}s. */
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
   * Opens the device, and tells of it and of the model.
   *
   * @param fits whether weights will be fitted, which not every device can do
   * @throws dev.laco.UsageException if there is no such device name
   * @throws dev.laco.ResourceException if the device cannot be used, or cannot fit
   */
  protected final OpenDevice openDevice(boolean fits) {
    OpenDevice opened = OpenDevice.open(device, model);
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
   * Plans the memory, tells of that, and gives the model on the device. Its weights end the job
   * when it is cancelled.
   *
   * @param mixed layers of which one is mixed, 1 where layers are used as they are
   * @param helps what a user can do about what is beside the weights
   * @throws dev.laco.ResourceException if memory does not suffice
   */
  protected final RunningModel runningModel(
      Backend backend, MemoryPlan.Beside beside, int mixed, String helps) {
    MemoryPlan memory = MemoryPlan.of(backend, model.checkpoint(), device, beside, mixed, helps);
    tell(new JobEvent.MemoryPlanned(memory.describe(backend)));
    return new RunningModel(
        backend, model.config(), new CancellableWeights(memory.weights(backend), cancellation));
  }

  /**
   * Measures the perplexity of a model, and tells it.
   *
   * @param stage the stage of the job
   * @param whose names the model in errors
   * @throws dev.laco.BadInputException if the perplexity is not finite
   */
  protected final Perplexity measure(String stage, EvaluationText text, Object whose, CausalLm lm) {
    Perplexity perplexity = text.measure(progress, stage, whose, lm);
    tell(new JobEvent.Measured(stage, text.name(), perplexity));
    return perplexity;
  }

  /**
   * Ends the work of the caller if the job was cancelled.
   *
   * @throws dev.laco.CancelledException if it was
   */
  protected final void requireWanted() {
    cancellation.check();
  }

  /** Tells about how long all takes, once every stage is expected. */
  protected final void tellExpectation() {
    progress.expectation().ifPresent(description -> tell(new JobEvent.TimeEstimated(description)));
  }
}
