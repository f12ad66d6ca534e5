package dev.laco.evaluate;

import dev.laco.report.LastWord;
import dev.laco.report.Perplexity;
import java.util.List;

/** What was measured of a model. */
public sealed interface EvaluateResult {
  /**
   * How well a model predicts a text.
   *
   * @param text names the text for people
   * @param perplexity perplexity on the text
   */
  record OfText(String text, Perplexity perplexity) implements EvaluateResult {}

  /**
   * How often a model knows the last word of a passage.
   *
   * @param passages names the passages for people
   * @param lastWord how often
   */
  record OfPassages(String passages, LastWord lastWord) implements EvaluateResult {}

  /**
   * How good a model is at tasks.
   *
   * @param tasks one for each task, in the order in which they were asked for
   * @param groups the groups of tasks that were asked for
   */
  record OfTasks(List<TaskResult> tasks, List<Task.Group> groups) implements EvaluateResult {
    public OfTasks {
      tasks = List.copyOf(tasks);
      groups = List.copyOf(groups);
    }

    /** The result of a task that was asked for. */
    public TaskResult task(String name) {
      return tasks.stream()
          .filter(result -> result.task().name().equals(name))
          .findFirst()
          .orElseThrow(() -> new IllegalArgumentException("no result of " + name));
    }

    /** The mean accuracy of a group's tasks, each of which counts the same. */
    public double accuracy(Task.Group group) {
      return group.tasks().stream()
          .mapToDouble(name -> task(name).metric(Metric.ACCURACY).value())
          .average()
          .orElseThrow();
    }
  }
}
