package dev.laco.evaluate;

import dev.laco.DeviceSettings;
import dev.laco.JobProgress;
import dev.laco.Model;
import dev.laco.Seconds;
import dev.laco.backend.Device;
import dev.laco.run.JobEstimate;
import dev.laco.run.MemoryPlan;
import dev.laco.run.ModelJob;
import dev.laco.run.OpenDevice;
import dev.laco.transformer.CausalLm;
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
  private final String whose;
  private final List<TaskRun> runs;

  /**
   * Reads all items of the tasks.
   *
   * @param whose what the name of each stage ends with; empty where one model is measured
   * @param requireWanted ends the reading if the job was cancelled
   * @throws dev.laco.BadInputException if an item is none of its task, or the model has no
   *     tokenizer
   */
  TasksJob(
      Model model,
      DeviceSettings device,
      String whose,
      List<TaskFile> files,
      long limit,
      Runnable requireWanted) {
    super(model, device);
    this.whose = whose;
    PromptTokens prompts = new PromptTokens(model);
    this.runs =
        files.stream().map(file -> new TaskRun(file, prompts, limit, requireWanted)).toList();
  }

  private String stage(TaskRun run) {
    return run.task().name() + whose;
  }

  /**
   * Measures how fast the model answers: once for the tasks whose answers it writes, and once for
   * all others.
   *
   * @param lm the model
   * @param seconds about as many as a measurement may take
   * @param others the models that are measured, too; they take as long as they have layers
   * @return one for each task
   */
  List<ItemSample.Stratum> strata(CausalLm lm, double seconds, List<Model> others) {
    JobEstimate estimate = new JobEstimate(model, lm.backend());
    double token = estimate.pass(1, model.config().numHiddenLayers());
    double models =
        1
            + others.stream()
                .mapToDouble(other -> estimate.pass(1, other.config().numHiddenLayers()) / token)
                .sum();
    Map<Boolean, Double> paces = new HashMap<>();
    List<ItemSample.Stratum> strata = new ArrayList<>();
    for (TaskRun run : runs) {
      List<ItemSample.Weight> items = run.weights();
      double pace =
          paces.computeIfAbsent(
              run.task().kind().isGenerated(),
              written -> pace(run, lm, new ItemSample.Stratum(items, token), seconds));
      strata.add(new ItemSample.Stratum(items, pace * models));
    }
    return strata;
  }

  /**
   * Seconds for each token of items that are expected to take {@code seconds}: in a second run over
   * them, or of one item whose answer is written, in the first.
   */
  private static double pace(TaskRun run, CausalLm lm, ItemSample.Stratum items, double seconds) {
    if (run.task().kind().isGenerated()) {
      run.only(items.bound(1));
    } else {
      run.only(items.bound(items.count(ItemSample.share(List.of(items), seconds))));
      run.measure(lm, false, (done, of) -> {}, sample -> {});
    }
    long start = System.nanoTime();
    run.measure(lm, false, (done, of) -> {}, sample -> {});
    return Seconds.since(start) / run.tokens();
  }

  /**
   * Measures from now on only those items whose hashes are at most a bound.
   *
   * @param bounds one for each task
   */
  void only(long[] bounds) {
    for (int i = 0; i < bounds.length; i++) {
      runs.get(i).only(bounds[i]);
    }
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
   * @param opened is given the model before the first task
   */
  TaskResults run(@Nullable Function<Task, Path> samples, Consumer<CausalLm> opened) {
    long buffers =
        runs.stream()
            .mapToLong(run -> run.bytes(model.config(), samples != null))
            .max()
            .orElseThrow();
    try (OpenDevice device = openDevice(false)) {
      CausalLm lm =
          runningModel(
                  device.backend(),
                  MemoryPlan.Beside.buffers(buffers),
                  1,
                  "leave out the task with the longest items")
              .original();
      opened.accept(lm);
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
