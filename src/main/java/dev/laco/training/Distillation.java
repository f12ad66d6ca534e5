package dev.laco.training;

import dev.laco.Seconds;
import dev.laco.backend.Backend;
import dev.laco.backend.Device;
import dev.laco.backend.StochasticRounding;
import dev.laco.backend.Tensor;
import dev.laco.backend.TokenBatch;
import dev.laco.backend.TrainingOps;
import dev.laco.model.DType;
import dev.laco.model.HostTensor;
import dev.laco.model.ModelConfig;
import dev.laco.model.NewWeights;
import dev.laco.model.PackedSequences;
import dev.laco.report.RateTrial;
import dev.laco.report.TrainingMeasurement;
import dev.laco.report.TrainingStep;
import dev.laco.text.FitText;
import dev.laco.transformer.AdamWState;
import dev.laco.transformer.CausalLm;
import dev.laco.transformer.RateSchedule;
import dev.laco.transformer.RunningModel;
import dev.laco.transformer.TrainedTensor;
import java.lang.foreign.SegmentAllocator;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.function.Function;
import java.util.function.Supplier;

/**
 * Trains the layers of a pruned model behind its first gap so that it predicts what the original
 * predicts (Hinton et al. 2015, "Distilling the Knowledge in a Neural Network"): the loss is the
 * Kullback-Leibler divergence of the original's next-token distribution from the pruned model's,
 * and by a {@link LabelShare} the language model's own. The weights whose loss on held-out text is
 * smallest are the result.
 */
public final class Distillation implements AutoCloseable {
  private final Backend backend;
  private final DistillationText text;
  private final DistillationSettings settings;
  private final TrainedLayers layers;
  private final CausalLm student;
  private final Passes passes;
  private final HeldOut heldOut;
  private final SegmentAllocator memory;
  private final Path folder;
  private final long reserved;
  private TeacherStates teacher;

  private final Map<String, HostTensor> best = new HashMap<>();

  /** Is told how a training goes, on the thread that trains. */
  public interface Listener {
    /** A step was taken. */
    void stepped(TrainingStep step);

    /** The held-out text was measured. */
    void measured(TrainingMeasurement measurement);

    /** Better weights are about to be kept, in the memory of those that {@link #kept} told last. */
    default void keeping() {}

    /** These weights are the best so far. */
    default void kept(NewWeights weights) {}

    /**
     * The training ends in front of a step whose loss or gradients are not finite, and which would
     * make the weights no numbers.
     *
     * @param step number of that step
     */
    default void diverged(int step) {}

    /** Asked before each step but the first: whether the training shall end with what it has. */
    default boolean timeIsUp() {
      return false;
    }

    /**
     * A step is done, with all that belongs to it; the training may be kept now.
     *
     * @param reached gives how far it has come; who asks after every step of many copies a long
     *     list each time
     */
    default void reached(Supplier<Reached> reached) {}
  }

  /**
   * What a training gave.
   *
   * @param weights the tensors of the trained model that was best on the held-out text; none if no
   *     step made the model better
   * @param adapters by name, those that these weights hold; empty where none are trained
   * @param originalNll of the original on the held-out text, nats a token
   * @param reached its end
   */
  public record Result(
      NewWeights weights,
      SortedMap<String, HostTensor> adapters,
      double originalNll,
      Reached reached) {}

  /**
   * How far a training has come. With the tensors of {@link #state} and {@link #best} this is all
   * that it goes on from.
   *
   * @param steps that were taken
   * @param measurements all of them, the first before the first step
   * @param best of them, whose weights are the best
   */
  public record Reached(
      List<TrainingStep> steps, List<TrainingMeasurement> measurements, TrainingMeasurement best) {
    public Reached {
      steps = List.copyOf(steps);
      measurements = List.copyOf(measurements);
    }
  }

  /**
   * Where a training has its tensors.
   *
   * @param results in which the tensors that are the result are allocated
   * @param residence what of the trained layers stays in the device's memory
   * @param folder of files without a name, in which the rest and the original's states lie
   * @param reserved bytes of the disk that these files leave free for other files
   */
  public record Place(SegmentAllocator results, Residence residence, Path folder, long reserved) {}

  /**
   * Copies the layers that are to be trained.
   *
   * @param original the model that is imitated
   * @param place where the training has its tensors
   */
  public Distillation(
      RunningModel original,
      Student pruned,
      DistillationText text,
      DistillationSettings settings,
      Place place) {
    this.backend = original.backend();
    this.text = text;
    this.settings = settings;
    this.memory = place.results;
    this.folder = place.folder;
    this.reserved = place.reserved;
    this.layers = TrainedLayers.of(pruned, settings, place.residence, folder, reserved);
    this.student = new CausalLm(pruned.outside(), layers);
    int most = text.mostAtOnce(settings.batchTokens());
    CausalLm dense = original.original();
    try {
      this.passes = new Passes(dense, student, layers, pruned.first(), most);
    } catch (RuntimeException e) {
      layers.close();
      throw e;
    }
    this.teacher = TeacherStates.computed(passes);
    this.heldOut = new HeldOut(dense, student, passes, text.heldOutParts());
  }

  /**
   * Bytes of the trained layers with all that belongs to their training, in the memory of the
   * device.
   *
   * @param parameters of the trained layers
   * @param weightBytes bytes of these parameters in the checkpoint
   * @param trained number of trained layers
   */
  public static long layerBytes(
      ModelConfig config,
      DistillationSettings settings,
      long parameters,
      long weightBytes,
      int trained,
      Residence residence) {
    Adapters adapters = settings.adapters();
    return adapters == null
        ? WholeLayers.bytes(
            parameters,
            weightBytes,
            WholeLayers.tensors(config, trained),
            trained,
            settings.held(),
            residence)
        : AdaptedLayers.bytes(config, adapters, weightBytes, trained, residence);
  }

  /**
   * At most the bytes of what AdamW holds.
   *
   * @param parameters of the trained layers
   * @param trained number of trained layers
   */
  public static long stateBytes(ModelConfig config, AdamWState held, long parameters, int trained) {
    return held.bytes(parameters, WholeLayers.tensors(config, trained));
  }

  /**
   * At most the bytes that a training has in a file.
   *
   * @param parameters of the trained layers
   * @param trained number of trained layers
   */
  public static long swappedBytes(
      ModelConfig config,
      DistillationSettings settings,
      long parameters,
      int trained,
      Residence residence) {
    return settings.adapters() == null
        ? WholeLayers.swappedBytes(
            parameters, WholeLayers.tensors(config, trained), settings.held(), residence)
        : 0;
  }

  /**
   * Estimated seconds in which a training reads and writes its file, by the speed of the disk,
   * which is measured; 0 where all of it stays in memory.
   *
   * @param parameters of the trained layers
   * @param weightBytes bytes of these parameters in the checkpoint
   * @param tokens on which to train
   * @param folder of the file
   * @throws dev.laco.ResourceException if the folder cannot be written
   */
  public static double swapSeconds(
      DistillationText text,
      DistillationSettings settings,
      long parameters,
      long weightBytes,
      long tokens,
      Residence residence,
      Path folder) {
    return residence.keepsMoments() || settings.adapters() != null
        ? 0
        : swapTraffic(text, settings, parameters, weightBytes, tokens, residence)
            / SwapFile.bytesPerSecond(folder);
  }

  /** Bytes that a training writes to its file or reads from it, as of {@link #swapSeconds}. */
  static double swapTraffic(
      DistillationText text,
      DistillationSettings settings,
      long parameters,
      long weightBytes,
      long tokens,
      Residence residence) {
    int step = settings.stepTokens(tokens);
    long steps = Math.ceilDiv(tokens, step);
    long each = Math.ceilDiv(step, settings.batchTokens());
    int heldOut = text.measured(tokens).size();
    return WholeLayers.traffic(
        parameters,
        weightBytes,
        settings.held(),
        residence,
        steps,
        steps * each,
        heldOut * (settings.measurements(tokens) + 1L));
  }

  /**
   * Bytes of the buffers of a training, in the memory of the device.
   *
   * @param trained number of trained layers
   */
  public static long bufferBytes(
      Backend backend,
      ModelConfig config,
      DistillationText text,
      DistillationSettings settings,
      int trained,
      Residence residence) {
    int most = text.mostAtOnce(settings.batchTokens());
    return backend.training().scratchBytes(most, config.vocabSize())
        + Passes.bytes(config, most, trained, residence)
        + HeldOut.bytes(text.heldOut(), config.hiddenSize());
  }

  /**
   * The time that training takes, in seconds, measured on one step; no weight changes.
   *
   * @param token of training on a token
   * @param batch of the measurement of a batch of the held-out text
   */
  public record Pace(double token, double batch) {
    /** The pace with another time for a token. */
    public Pace withToken(double seconds) {
      return new Pace(seconds, batch);
    }
  }

  /**
   * Measures how fast this machine trains.
   *
   * @param alone whether no search for a rate follows, whose steps tell the pace better; then the
   *     step is of the usual size, and taken twice: the first one is slower, since whatever is made
   *     when an op is called for the first time is made then
   */
  public Pace pace(boolean alone) {
    int tokens = alone ? settings.stepTokens() : Math.max(1, settings.stepTokens() / 2);
    List<FitText.Chunk> chunks = text.steps(tokens, settings.withStepTokens(tokens)).getFirst();
    double step = rehearse(chunks);
    if (alone) {
      step = rehearse(chunks);
    }
    heldOut.prepare(1);
    long start = System.nanoTime();
    heldOut.untrained(1);
    return new Pace(step / FitText.tokens(chunks), Seconds.since(start));
  }

  /** Computes the gradients of a step, and forgets them; the seconds that it took. */
  private double rehearse(List<FitText.Chunk> chunks) {
    long start = System.nanoTime();
    gradients(chunks, settings.labels().share());
    // A GPU computes gradients until somebody waits for them.
    layers.gradientNorm();
    layers.forEach(TrainedLayers.Use.EVERYTHING, tensor -> tensor.forget(backend));
    return Seconds.since(start);
  }

  /**
   * The learning rate that suits the model as it is, found by a {@link RangeTest}.
   *
   * @param rate taken by the training
   * @param trials the loss after the steps of each rate; the first is of the model as it is
   * @param token the seconds of training on a token, as the steps at the last rate tell them: ops
   *     that meet a number of tokens for the first time take longer
   */
  public record FoundRate(double rate, List<RateTrial> trials, double token) {}

  /**
   * Finds the learning rate of a training on so many tokens. Then the weights are again what they
   * were.
   */
  public FoundRate findRate(long tokensInAll, Runnable requireWanted) {
    RangeTest test = RangeTest.of(tokensInAll, settings);
    List<List<FitText.Chunk>> steps =
        text.steps(
            test.trained(),
            settings.withStepTokens(Math.toIntExact(Math.max(1, test.tokens() / test.steps()))));
    List<RateTrial> trials = new ArrayList<>();
    double start = loss(heldOut.untrained(test.judged()));
    trials.add(new RateTrial(0, 0, start));
    double lowest = start;
    int number = 0;
    double token = 0;
    for (double relative : test.rates()) {
      double rate = relative * settings.rate();
      long tokens = 0;
      double differentiating = 0;
      long begin = System.nanoTime();
      boolean finite = true;
      for (int i = 0; i < test.steps() && finite; i++) {
        requireWanted.run();
        List<FitText.Chunk> chunks = steps.get(number % steps.size());
        Gradients gradients = step(number + 1, rate, settings.labels().share(), chunks);
        finite = gradients.areFinite();
        differentiating += gradients.seconds;
        tokens += FitText.tokens(chunks);
        number++;
      }
      // Steps of a test may have fewer tokens, over which a change of all weights is spread.
      double changing = (Seconds.since(begin) - differentiating) / test.steps();
      token = differentiating / tokens + changing / settings.stepTokens(tokensInAll);
      double now = finite ? loss(heldOut.measure(test.judged())) : Double.NaN;
      trials.add(new RateTrial(test.steps(), rate, now));
      lowest = Math.min(lowest, now);
      // A loss that never fell may have risen by the noise of a step.
      boolean fell = lowest < start;
      if (Double.isNaN(now) || (fell && start - now < (start - lowest) / 2)) {
        break;
      }
    }
    layers.restart();
    return new FoundRate(test.suitable(trials), List.copyOf(trials), token);
  }

  /** The loss of a model by which rates and weights are judged. */
  private double loss(SortedMap<String, TrainingMeasurement.Distance> byDomain) {
    TrainingMeasurement.Distance all = TrainingMeasurement.Distance.of(byDomain.values());
    return settings.labels().loss(all.divergence(), all.nll());
  }

  /** The number of parameters that are trained. */
  public long parameters() {
    return layers.parameters();
  }

  /** Where the training is computed. */
  public Backend backend() {
    return backend;
  }

  /** The number of steps that a training on so many tokens takes. */
  public int steps(long tokens) {
    return text.steps(tokens, settings).size();
  }

  /**
   * Trains.
   *
   * @param tokensInAll on which to train
   * @param rate the peak of the learning rate
   * @return valid as long as the memory of its tensors
   * @throws dev.laco.CancelledException if the source of the original's weights ends the job
   */
  public Result run(long tokensInAll, double rate, Listener listener) {
    List<TrainingMeasurement> measurements = new ArrayList<>();
    SortedMap<String, TrainingMeasurement.Distance> untrained =
        heldOut.untrained(DistillationText.measuredBatches(tokensInAll));
    TrainingMeasurement first = TrainingMeasurement.of(0, 0, untrained);
    tell(first, listener, measurements);
    return resume(new Reached(List.of(), measurements, first), tokensInAll, rate, listener);
  }

  /**
   * Takes over the tensors of a training that is to go on; {@link #resume} does not need their
   * source any more.
   *
   * @param from how far it had come
   * @param tensors gives the tensors of {@link #state} and {@link #best} as they were then
   */
  public void restore(Reached from, Function<String, HostTensor> tensors, Listener listener) {
    if (from.best.step() > 0) {
      layers.forEach(
          TrainedLayers.Use.EVERYTHING,
          tensor -> upload(tensors.apply(bestName(tensor.name())), tensor.weight()));
      layers.changed();
      keep();
      listener.kept(kept());
    }
    layers.forEach(
        TrainedLayers.Use.EVERYTHING,
        tensor -> {
          tensor.state().forEach((name, to) -> upload(tensors.apply(name), to));
          tensor.roundMaster(backend);
        });
    layers.changed();
  }

  private static String bestName(String tensor) {
    return tensor + "/best";
  }

  /**
   * What was trained as it was in the best model so far, by the names under which a training is
   * kept; empty before a step has made the model better.
   */
  public SortedMap<String, HostTensor> best() {
    SortedMap<String, HostTensor> kept = new TreeMap<>();
    if (!best.isEmpty()) {
      layers.forEach(
          TrainedLayers.Use.NAME, tensor -> kept.put(bestName(tensor.name()), bestOf(tensor)));
    }
    return kept;
  }

  /**
   * A tensor that a training goes on from.
   *
   * @param dtype of its elements
   * @param elements their number
   * @param tensor gives the tensor, which is valid until another one is asked for
   */
  public record Held(DType dtype, long elements, Supplier<Tensor> tensor) {}

  /** The tensors that a training goes on from, by the names under which they are kept. */
  public SortedMap<String, Held> state() {
    SortedMap<String, Held> state = new TreeMap<>();
    layers.forEach(
        TrainedLayers.Use.NAME,
        tensor ->
            tensor
                .state()
                .forEach(
                    (name, part) ->
                        state.put(
                            name,
                            new Held(part.dtype(), part.elements(), () -> brought(tensor, part)))));
    return state;
  }

  private Tensor brought(TrainedTensor tensor, Tensor part) {
    layers.bringState(tensor);
    return part;
  }

  private void upload(HostTensor from, Tensor to) {
    backend.copy(backend.weight(from), to);
    backend.release(List.of(from));
  }

  /** How often a text is met at least for the original's states to be kept. */
  private static final double OFTEN = 1.5;

  /**
   * Bytes of the original's states of the text that a training keeps in a file, where the disk has
   * room for twice as many: 0 where it meets the text hardly more than once, and where the device
   * computes the states again in less time than the file takes.
   *
   * @param config of the original
   * @param tokens on which to train
   */
  public static long keptStateBytes(
      Device device, ModelConfig config, DistillationText text, long tokens) {
    return tokens < OFTEN * text.tokens() || !TeacherStates.isReadFaster(device, config)
        ? 0
        : TeacherStates.bytes(text.tokens(), config.hiddenSize());
  }

  /**
   * Goes on with a training.
   *
   * @param from how far it had come, with the tensors that it had then
   */
  public Result resume(Reached from, long tokensInAll, double rate, Listener listener) {
    long stateBytes = keptStateBytes(backend, passes.config(), text, tokensInAll);
    teacher.close();
    teacher =
        stateBytes == 0 || !SwapFile.leavesRoom(folder, stateBytes, reserved)
            ? TeacherStates.computed(passes)
            : TeacherStates.kept(
                passes,
                text.learnt(),
                settings.batchTokens(),
                SwapFile.create(backend, folder, stateBytes, reserved));
    List<List<FitText.Chunk>> chunks = text.steps(tokensInAll, settings);
    List<TrainingStep> steps = new ArrayList<>(from.steps);
    List<TrainingMeasurement> measurements = new ArrayList<>(from.measurements);
    TrainingMeasurement found = from.best;
    long tokens = steps.isEmpty() ? 0 : steps.getLast().tokens();
    long once = text.tokens();
    int all = chunks.size();
    long measured = settings.measurements(tokensInAll);
    int batches = DistillationText.measuredBatches(tokensInAll);
    for (int number = steps.size() + 1; number <= all; number++) {
      if (!steps.isEmpty() && listener.timeIsUp()) {
        break;
      }
      List<FitText.Chunk> now = chunks.get(number - 1);
      tokens += FitText.tokens(now);
      // In the middle of the step: no step is one of no change.
      double scheduled = rate * RateSchedule.share((number - 0.5) / all);
      // A step that goes beyond a pass over the text counts as one of the next pass.
      double labels = settings.labels().in(Math.ceilDiv(tokens, once));
      Gradients gradients = step(number, scheduled, labels, now);
      if (!gradients.areFinite()) {
        listener.diverged(number);
        break;
      }
      TrainingStep step = new TrainingStep(number, all, tokens, gradients.loss, gradients.norm);
      steps.add(step);
      listener.stepped(step);
      if (number * measured / all > (number - 1) * measured / all) {
        found = better(found, number, tokens, batches, listener, measurements);
      }
      TrainingMeasurement bestNow = found;
      listener.reached(() -> new Reached(steps, measurements, bestNow));
    }
    if (measurements.getLast().step() < steps.size()) {
      // The training ended before its last step.
      long trained = steps.getLast().tokens();
      found = better(found, steps.size(), trained, batches, listener, measurements);
    }
    return new Result(
        kept(), adapters(), heldOut.originalNll(batches), new Reached(steps, measurements, found));
  }

  /** The adapters of the best model; where no step made the model better, what they began with. */
  private SortedMap<String, HostTensor> adapters() {
    SortedMap<String, HostTensor> adapters = new TreeMap<>();
    if (settings.adapters() != null) {
      if (best.isEmpty()) {
        layers.restart();
        keepTrained();
      }
      layers.forEach(TrainedLayers.Use.NAME, tensor -> adapters.put(tensor.name(), bestOf(tensor)));
    }
    return adapters;
  }

  /**
   * Measures, and keeps the weights where they are better than the best so far.
   *
   * @param batches of the held-out text that are measured
   */
  private TrainingMeasurement better(
      TrainingMeasurement best,
      int step,
      long tokens,
      int batches,
      Listener listener,
      List<TrainingMeasurement> measurements) {
    TrainingMeasurement measured = TrainingMeasurement.of(step, tokens, heldOut.measure(batches));
    tell(measured, listener, measurements);
    // A loss that is no number is not better.
    if (!(loss(measured.domains()) < loss(best.domains()))) {
      return best;
    }
    listener.keeping();
    keep();
    listener.kept(kept());
    return measured;
  }

  /** The best weights so far; none before a step has made the model better. */
  public NewWeights kept() {
    SortedMap<String, HostTensor> weights = new TreeMap<>(best);
    if (settings.adapters() != null) {
      layers.forEach(TrainedLayers.Use.NAME, tensor -> weights.remove(tensor.name()));
    }
    return new NewWeights(weights);
  }

  private static void tell(
      TrainingMeasurement measured, Listener listener, List<TrainingMeasurement> measurements) {
    measurements.add(measured);
    listener.measured(measured);
  }

  /**
   * What was known before a step.
   *
   * @param loss mean of the step's tokens
   * @param norm of all gradients, before clipping
   * @param seconds in which they and their norm were computed
   */
  private record Gradients(double loss, double norm, double seconds) {
    boolean areFinite() {
      return Double.isFinite(loss) && Double.isFinite(norm);
    }
  }

  /** Takes a step, but none by gradients that are not finite. */
  private Gradients step(int number, double rate, double labelShare, List<FitText.Chunk> chunks) {
    long start = System.nanoTime();
    double loss = gradients(chunks, labelShare);
    TrainingOps training = backend.training();
    // A GPU computes gradients until somebody waits for them.
    double norm = layers.gradientNorm();
    Gradients gradients = new Gradients(loss, norm, Seconds.since(start));
    if (!gradients.areFinite()) {
      return gradients;
    }
    double scale = norm > settings.clip() ? settings.clip() / norm : 1;
    int[] index = {0};
    layers.forEachTogether(
        TrainedLayers.Use.EVERYTHING,
        tensors ->
            TrainedTensor.take(
                training,
                tensors.stream()
                    .map(
                        tensor ->
                            new TrainedTensor.Step(
                                tensor, numbers(tensor, number, rate, scale, index[0]++)))
                    .toList()));
    layers.changed();
    return gradients;
  }

  /**
   * The numbers of a tensor's step.
   *
   * @param scale of all gradients, below 1 where their norm is clipped
   * @param index of the tensor
   */
  private TrainingOps.AdamW numbers(
      TrainedTensor tensor, int number, double rate, double scale, int index) {
    return new TrainingOps.AdamW(
        number,
        rate,
        DistillationSettings.BETA1,
        DistillationSettings.BETA2,
        DistillationSettings.EPSILON,
        tensor.isMatrix() ? settings.decay() : 0,
        scale,
        StochasticRounding.key(settings.seed(), number, index));
  }

  /** Adds the gradients of the mean loss of all tokens, and returns that loss. */
  private double gradients(List<FitText.Chunk> chunks, double labelShare) {
    int count = FitText.tokens(chunks);
    double loss = 0;
    for (List<FitText.Chunk> together : DistillationText.parts(chunks, settings.batchTokens())) {
      try (TokenBatch batch =
          passes.batch(PackedSequences.of(together.stream().map(FitText.Chunk::ids).toList()))) {
        teacher.bring(batch, together);
        loss += passes.train(batch, labelShare, 1.0 / count);
      }
    }
    return loss / count;
  }

  /** Copies the model and what is trained, as they are now, to the host. */
  private void keep() {
    layers.forEachResult(
        result -> {
          Tensor weight = result.weight();
          backend.download(weight, best(result.name(), weight.dtype(), result.shape()));
        });
    if (settings.adapters() != null) {
      keepTrained();
    }
  }

  private void keepTrained() {
    layers.forEach(TrainedLayers.Use.WEIGHT, tensor -> tensor.save(backend, bestOf(tensor)));
  }

  /** Where the best values of what is trained are kept. */
  private HostTensor bestOf(TrainedTensor tensor) {
    return best(tensor.name(), tensor.weight().dtype(), tensor.shape());
  }

  private HostTensor best(String tensor, DType dtype, List<Long> shape) {
    return best.computeIfAbsent(tensor, name -> HostTensor.allocate(memory, name, dtype, shape));
  }

  @Override
  public void close() {
    teacher.close();
    heldOut.close();
    passes.close();
    layers.close();
  }
}
