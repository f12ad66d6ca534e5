package dev.laco.evaluate;

import java.util.List;

/**
 * How good a model is at a task.
 *
 * @param source where the items come from: the path of a file, or what the rule is that made them
 * @param shots the number of examples in front of each prompt
 * @param available the number of items that there are
 * @param sampled whether an {@link ItemSample} was measured; else the first items or all
 * @param chance the share of the measured items that guessing gets right
 * @param metrics what was measured, of the same items each
 */
public record TaskResult(
    Task task,
    String source,
    int shots,
    long available,
    boolean sampled,
    double chance,
    List<Metric> metrics) {
  public TaskResult {
    metrics = List.copyOf(metrics);
  }

  /** Number of items that were measured. */
  public int items() {
    return metrics.getFirst().count();
  }

  /**
   * The metric of a name.
   *
   * @throws IllegalArgumentException if the task has no such metric
   */
  public Metric metric(String name) {
    return metrics.stream()
        .filter(metric -> metric.name().equals(name))
        .findFirst()
        .orElseThrow(() -> new IllegalArgumentException(task + " has no metric " + name));
  }
}
