package dev.laco.evaluate;

import dev.laco.DeviceSettings;
import dev.laco.JobProgress;
import dev.laco.Model;
import dev.laco.Seconds;
import dev.laco.backend.Backend;
import dev.laco.backend.Device;
import dev.laco.run.JobEstimate;
import dev.laco.run.MemoryPlan;
import dev.laco.run.ModelJob;
import dev.laco.run.OpenDevice;
import dev.laco.transformer.CausalLm;
import dev.laco.transformer.RunningModel;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Consumer;
import java.util.function.Function;
import org.jspecify.annotations.Nullable;

/** The tasks of an evaluation on one model. */
final class TasksJob extends ModelJob<TasksJob> {
  /** The items of a task of which the tokens are counted before a sample is drawn. */
  private static final int FEW = 100;

  private final String whose;
  private final List<TaskItems> tasks;
  private final List<TaskRun> runs;

  /**
   * A job for tasks whose items are to be surveyed before it runs.
   *
   * @param whose what the name of each stage ends with; empty where one model is measured
   * @throws dev.laco.BadInputException if the model has no tokenizer
   */
  TasksJob(Model model, DeviceSettings device, String whose, List<TaskItems> tasks) {
    super(model, device);
    this.whose = whose;
    this.tasks = tasks;
    PromptTokens prompts = new PromptTokens(model);
    this.runs = tasks.stream().map(items -> new TaskRun(items, prompts)).toList();
  }

  private String stage(TaskRun run) {
    return run.task().name() + whose;
  }

  /**
   * Reads and tokenises the items that are measured; again after they have changed.
   *
   * @param one is told of each item
   * @throws dev.laco.BadInputException if an item is none of its task
   */
  void survey(Runnable one) {
    runs.forEach(run -> run.survey(one));
  }

  /**
   * Measures how fast the model answers: once for the tasks whose answers it writes, and once for
   * all others. Of each task the tokens of a few items are counted.
   *
   * @param seconds about as many as a measurement may take
   * @param others the models that are measured, too; they take as long as they have layers
   * @return one for each task, whose items were weighed
   */
  List<ItemSample.Stratum> strata(Backend backend, double seconds, List<Model> others) {
    JobEstimate estimate = new JobEstimate(model, backend);
    double token = estimate.pass(1, model.config().numHiddenLayers());
    double models =
        1
            + others.stream()
                .mapToDouble(other -> estimate.pass(1, other.config().numHiddenLayers()) / token)
                .sum();
    Map<Boolean, Double> paces = new HashMap<>();
    List<ItemSample.Stratum> strata = new ArrayList<>();
    for (int i = 0; i < runs.size(); i++) {
      TaskRun run = runs.get(i);
      TaskItems items = tasks.get(i);
      List<ItemSample.Weight> weights = items.weights();
      ItemSample.Stratum bytes = new ItemSample.Stratum(weights, 1);
      int few = Math.min(FEW, weights.size());
      items.only(bytes.bound(few));
      long start = System.nanoTime();
      run.survey(this::requireWanted);
      double tokenising = Seconds.since(start) / bytes.bytes(few);
      double tokens = (double) run.tokens() / bytes.bytes(few);
      ItemSample.Stratum expected = new ItemSample.Stratum(weights, tokens * token);
      double pace =
          paces.computeIfAbsent(
              run.task().kind().isGenerated(),
              written -> pace(backend, run, items, expected, Math.max(seconds, 0)));
      strata.add(new ItemSample.Stratum(weights, (pace * tokens + tokenising) * models));
    }
    return strata;
  }

  /**
   * Seconds for each token of items that are expected to take {@code seconds}: in a second run over
   * them, or of one item whose answer is written, in the first.
   */
  private double pace(
      Backend backend, TaskRun run, TaskItems items, ItemSample.Stratum all, double seconds) {
    boolean isWritten = run.task().kind().isGenerated();
    items.only(all.bound(isWritten ? 1 : all.count(ItemSample.share(List.of(all), seconds))));
    run.survey(this::requireWanted);
    RunningModel running = running(backend, run.bytes(backend, model, false));
    CausalLm lm = running.original();
    if (!isWritten) {
      run.measure(lm, false, (done, of) -> {}, sample -> {});
    }
    long start = System.nanoTime();
    run.measure(lm, false, (done, of) -> {}, sample -> {});
    double took = Seconds.since(start);
    endUse(running);
    return took / run.tokens();
  }

  private RunningModel running(Backend backend, long buffers) {
    return runningModel(
        backend,
        MemoryPlan.Beside.buffers(buffers),
        1,
        "leave out the task with the longest items");
  }

  /** Estimates the seconds of the tasks, and tells the progress. */
  void expect(Device backend) {
    JobEstimate estimate = new JobEstimate(model, backend);
    int depth = model.config().numHiddenLayers();
    runs.forEach(run -> progress().expect(stage(run), estimate.pass(run.tokens(), depth)));
  }

  /**
   * Measures the model.
   *
   * @param samples gives the file of a task's samples; null where none are written
   * @param opened is given the device before the items must have been surveyed
   * @param planned is given the device when the memory was planned
   */
  TaskResults run(
      @Nullable Function<Task, Path> samples, Consumer<Backend> opened, Consumer<Device> planned) {
    try (OpenDevice device = openDevice(false)) {
      opened.accept(device.backend());
      CausalLm lm =
          running(
                  device.backend(),
                  runs.stream()
                      .mapToLong(run -> run.bytes(device.backend(), model, samples != null))
                      .max()
                      .orElseThrow())
              .original();
      planned.accept(device.backend());
      List<TaskResult> results = new ArrayList<>();
      for (TaskRun run : runs) {
        results.add(measure(run, lm, samples));
      }
      return new TaskResults(model.directory(), results);
    }
  }

  private TaskResult measure(TaskRun run, CausalLm lm, @Nullable Function<Task, Path> samples) {
    try (JobProgress.Stage stage = progress().begin(stage(run))) {
      if (samples == null) {
        return run.measure(lm, false, stage::update, sample -> {});
      }
      try (SampleFile out = new SampleFile(run.task(), run.metrics(), samples.apply(run.task()))) {
        return run.measure(lm, true, stage::update, out::write);
      }
    }
  }
}
