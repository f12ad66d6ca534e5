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
   * How good a model is at tasks, and what other models lost against it.
   *
   * @param results the results of the model
   * @param groups the groups of tasks that were asked for
   * @param against the other models beside it, in the order in which they were given
   */
  record OfTasks(TaskResults results, List<Task.Group> groups, List<TaskComparison> against)
      implements EvaluateResult {
    public OfTasks {
      groups = List.copyOf(groups);
      against = List.copyOf(against);
    }
  }
}
