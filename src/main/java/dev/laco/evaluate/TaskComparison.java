package dev.laco.evaluate;

import java.util.List;

/**
 * What a pruned model lost against the dense one at tasks, on the same items.
 *
 * @param pruned the pruned model's results
 * @param tasks one for each task
 * @param groups one for each group of tasks that was asked for
 */
public record TaskComparison(TaskResults pruned, List<OfTask> tasks, List<OfGroup> groups) {
  public TaskComparison {
    tasks = List.copyOf(tasks);
    groups = List.copyOf(groups);
  }

  /**
   * One task.
   *
   * @param metrics one for each metric of the task
   */
  public record OfTask(Task task, List<PairedComparison> metrics) {
    public OfTask {
      metrics = List.copyOf(metrics);
    }
  }

  /**
   * The mean accuracy of a group of tasks.
   *
   * @param dense the dense model's mean
   * @param pruned the pruned model's mean
   * @param chance the mean of guessing
   * @param meanOfRatios the mean over the tasks of {@code pruned / dense}
   */
  public record OfGroup(
      Task.Group group, double dense, double pruned, double chance, double meanOfRatios) {
    /** The ratio of the means, {@code pruned / dense}. */
    public double ratioOfMeans() {
      return pruned / dense;
    }

    /** As {@link PairedComparison#keptBeyondChance}, of the means. */
    public double keptBeyondChance() {
      return PairedComparison.keptBeyondChance(dense, pruned, chance);
    }
  }

  /** Compares the results of two models on the same items. */
  static TaskComparison of(TaskResults dense, TaskResults pruned, List<Task.Group> groups) {
    return new TaskComparison(
        pruned,
        dense.tasks().stream().map(task -> of(task, pruned.task(task.task().name()))).toList(),
        groups.stream().map(group -> of(group, dense, pruned)).toList());
  }

  private static OfTask of(TaskResult dense, TaskResult pruned) {
    return new OfTask(
        dense.task(),
        dense.metrics().stream()
            .map(metric -> PairedComparison.of(dense, pruned, metric.name()))
            .toList());
  }

  private static OfGroup of(Task.Group group, TaskResults dense, TaskResults pruned) {
    double ratios =
        dense.counted(group).stream()
            .mapToDouble(
                task ->
                    pruned.task(task).metric(Metric.ACCURACY).value()
                        / dense.task(task).metric(Metric.ACCURACY).value())
            .average()
            .orElseThrow();
    return new OfGroup(
        group, dense.accuracy(group), pruned.accuracy(group), dense.chance(group), ratios);
  }
}
