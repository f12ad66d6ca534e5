package dev.laco.evaluate;

import java.nio.file.Path;
import java.util.List;
import java.util.function.ToDoubleFunction;

/**
 * How good a model is at tasks.
 *
 * @param model the model's folder
 * @param tasks one for each task, in the order in which they were asked for
 */
public record TaskResults(Path model, List<TaskResult> tasks) {
  public TaskResults {
    tasks = List.copyOf(tasks);
  }

  /**
   * The result of a task.
   *
   * @throws IllegalArgumentException if the task was not asked for
   */
  public TaskResult task(String name) {
    return tasks.stream()
        .filter(result -> result.task().name().equals(name))
        .findFirst()
        .orElseThrow(() -> new IllegalArgumentException("no result of " + name));
  }

  /** The tasks of a group whose accuracies its mean is of. */
  public List<String> counted(Task.Group group) {
    return group.tasks().stream()
        .filter(name -> task(name).task().kind().metrics().contains(Metric.ACCURACY))
        .toList();
  }

  /** The mean accuracy of a group's tasks. */
  public double accuracy(Task.Group group) {
    return mean(group, result -> result.metric(Metric.ACCURACY).value());
  }

  /** The mean accuracy of guessing at a group's tasks. */
  public double chance(Task.Group group) {
    return mean(group, TaskResult::chance);
  }

  private double mean(Task.Group group, ToDoubleFunction<TaskResult> value) {
    double sum = 0;
    double weights = 0;
    for (String name : counted(group)) {
      TaskResult result = task(name);
      double weight = group.bySize() ? result.items() : 1;
      sum += weight * value.applyAsDouble(result);
      weights += weight;
    }
    return sum / weights;
  }
}
