package dev.laco.evaluate;

import dev.laco.DeviceSettings;
import dev.laco.JobProgress;
import dev.laco.Model;
import dev.laco.Seconds;
import dev.laco.backend.Backend;
import dev.laco.backend.Device;
import dev.laco.evaluate.Throughput.Rate;
import dev.laco.measure.Generator;
import dev.laco.measure.Prefill;
import dev.laco.measure.Sampler;
import dev.laco.measure.TimedRuns;
import dev.laco.model.DType;
import dev.laco.model.ModelConfig;
import dev.laco.model.PackedSequences;
import dev.laco.run.JobEstimate;
import dev.laco.run.MemoryPlan;
import dev.laco.run.ModelJob;
import dev.laco.run.OpenDevice;
import dev.laco.transformer.CausalLm;
import dev.laco.transformer.KeyValueCache;
import dev.laco.transformer.Workspace;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Set;
import java.util.SplittableRandom;
import java.util.function.Consumer;
import java.util.function.DoubleSupplier;
import java.util.function.ToIntFunction;
import java.util.stream.IntStream;

/** How fast models read and write, all of them on one device and in turn. */
final class SpeedJob extends ModelJob<SpeedJob> {
  /** Tokens of the prompt, if all models have so many positions. */
  static final int PROMPT = 512;

  /** Tokens that are written behind the prompt. */
  static final int WRITTEN = 32;

  /** At least six, since a median of fewer has no 95 % interval. */
  private static final TimedRuns RUNS = new TimedRuns(6, 15, 15);

  private static final String STAGE = "throughput";
  private static final long SEED = 1234;

  /** The dtype of a key or value as servers hold it. */
  private static final DType SERVED_TYPE = DType.BF16;

  private final List<Model> models;

  /**
   * A job for models that stay open.
   *
   * @param dense the model with which the others are compared
   */
  SpeedJob(Model dense, DeviceSettings device, List<Model> others) {
    super(dense, device);
    models = new ArrayList<>(List.of(dense));
    models.addAll(others);
  }

  /**
   * Measures the models.
   *
   * @param told is told of the device before the first run
   */
  EvaluateResult.OfThroughput run(Consumer<Device> told) {
    int[] prompt = prompt();
    try (OpenDevice opened = openDevice(false)) {
      List<CausalLm> lms = models.stream().map(one -> lm(opened.backend(), one)).toList();
      told.accept(opened.backend());
      try (JobProgress.Stage stage = progress().begin(STAGE)) {
        double[][] prefill = prefill(lms, prompt);
        stage.update(1, 2);
        double[][] decoding =
            RUNS.of(
                lms.stream()
                    .map(lm -> (DoubleSupplier) () -> secondsOfWriting(lm, prompt))
                    .toList());
        return new EvaluateResult.OfThroughput(
            prompt.length,
            WRITTEN,
            IntStream.range(0, models.size())
                .mapToObj(
                    i ->
                        new Throughput(
                            models.get(i).directory(),
                            rate(prompt.length, prefill, i),
                            rate(WRITTEN, decoding, i),
                            models.get(i).checkpoint().weightBytes(),
                            cacheBytes(models.get(i).config())))
                .toList());
      }
    }
  }

  /** Random tokens, with a fixed seed. */
  private int[] prompt() {
    int vocabulary = least(ModelConfig::vocabSize);
    int length =
        Math.clamp((long) least(ModelConfig::maxPositionEmbeddings) - WRITTEN - 1, 1, PROMPT);
    return new SplittableRandom(SEED).ints(length, 0, vocabulary).toArray();
  }

  private int least(ToIntFunction<ModelConfig> of) {
    return models.stream().map(Model::config).mapToInt(of).min().orElseThrow();
  }

  private CausalLm lm(Backend backend, Model one) {
    long others =
        models.stream()
            .filter(other -> other != one)
            .mapToLong(other -> other.checkpoint().weightBytes())
            .sum();
    ModelConfig config = one.config();
    long buffers =
        models.size() * Workspace.bytes(config, PROMPT)
            + Generator.bytes(backend, config, one.weightType(), 1, PROMPT, WRITTEN + 1);
    return runningModel(
            backend,
            one,
            MemoryPlan.Beside.buffers(others + buffers),
            1,
            "measure fewer models at a time")
        .original();
  }

  /** The seconds of the job as they are estimated. */
  double seconds(Device backend) {
    JobEstimate estimate = new JobEstimate(model, backend);
    double pass = 0;
    for (Model one : models) {
      pass += estimate.pass(2 * PROMPT + WRITTEN, one.config().numHiddenLayers());
    }
    return (RUNS.most() + 1) * pass;
  }

  /** Tells the progress how long the job is expected to take. */
  void expect(Device backend) {
    progress().expect(STAGE, seconds(backend));
  }

  private static double[][] prefill(List<CausalLm> lms, int[] prompt) {
    PackedSequences sequences = PackedSequences.of(List.of(prompt));
    List<Prefill> passes = new ArrayList<>();
    try {
      lms.forEach(lm -> passes.add(new Prefill(lm, sequences)));
      return RUNS.of(
          IntStream.range(0, lms.size())
              .mapToObj(i -> (DoubleSupplier) () -> passes.get(i).seconds(lms.get(i)))
              .toList());
    } finally {
      passes.forEach(Prefill::close);
    }
  }

  /** Seconds of {@link #WRITTEN} tokens behind the first one, which reading the prompt gives. */
  private static double secondsOfWriting(CausalLm lm, int[] prompt) {
    try (Generator generator =
        new Generator(lm, Sampler.GREEDY, Set.of(), 1, prompt.length, WRITTEN + 1)) {
      generator.add(prompt, token -> true);
      generator.step();
      long start = System.nanoTime();
      generator.finish();
      return Seconds.since(start);
    }
  }

  private static Rate rate(int tokens, double[][] seconds, int which) {
    double median = tokens / median(sorted(seconds[which]));
    if (which == 0) {
      return new Rate(median, 1, null);
    }
    double[] ratios = new double[seconds[which].length];
    for (int run = 0; run < ratios.length; run++) {
      ratios[run] = seconds[0][run] / seconds[which][run];
    }
    double[] ascending = sorted(ratios);
    return new Rate(median, median(ascending), Interval.ofMedian(ascending));
  }

  private static double[] sorted(double[] values) {
    double[] ascending = values.clone();
    Arrays.sort(ascending);
    return ascending;
  }

  private static double median(double[] ascending) {
    int middle = ascending.length / 2;
    return ascending.length % 2 == 1
        ? ascending[middle]
        : (ascending[middle - 1] + ascending[middle]) / 2;
  }

  private static long cacheBytes(ModelConfig config) {
    return KeyValueCache.tokenBytes(config, SERVED_TYPE);
  }
}
