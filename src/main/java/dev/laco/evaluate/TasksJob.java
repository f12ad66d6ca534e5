package dev.laco.evaluate;

import dev.laco.DeviceSettings;
import dev.laco.JobProgress;
import dev.laco.Model;
import dev.laco.backend.Device;
import dev.laco.run.JobEstimate;
import dev.laco.run.MemoryPlan;
import dev.laco.run.ModelJob;
import dev.laco.run.OpenDevice;
import dev.laco.transformer.CausalLm;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
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
   * @param opened is told of the device
   */
  TaskResults run(@Nullable Function<Task, Path> samples, Consumer<Device> opened) {
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
      opened.accept(device.backend());
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
