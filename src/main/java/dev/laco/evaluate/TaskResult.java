package dev.laco.evaluate;

import java.util.List;
import java.util.stream.Stream;

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
   * The metric that stands for the task where there is room for one: of accuracies that for each
   * character of the answers, of generated answers the last number's, of texts the perplexity of a
   * word.
   */
  public Metric headline() {
    return Stream.of(Metric.BY_CHARACTERS, Metric.ACCURACY, Metric.FLEXIBLE, Metric.WORD_PERPLEXITY)
        .flatMap(name -> metrics.stream().filter(metric -> metric.name().equals(name)))
        .findFirst()
        .orElseGet(metrics::getFirst);
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
