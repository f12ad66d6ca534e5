package dev.laco.compare;

import dev.laco.Passages;
import dev.laco.Request;
import dev.laco.prune.FitSettings;
import dev.laco.prune.Goal;
import dev.laco.prune.TextSettings;
import java.util.List;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/**
 * The parameters of a comparison: everything, beside model and device, that its result depends on.
 *
 * @param goal the size of every strategy's model; a threshold is no size
 * @param strategies the ways to a shallower model that are compared
 * @param texts the texts that models are scored and measured on
 * @param fit the text that weights are fitted on
 * @param passages the passages of which it is measured how often a model knows the last word; null
 *     to leave that out
 */
public record CompareRequest(
    Goal goal,
    List<Strategy> strategies,
    TextSettings texts,
    FitSettings fit,
    @Nullable Passages passages)
    implements Request {
  /**
   * A request of all values; null stands for the default of each: a quarter of the layers removed,
   * the usual strategies, the built-in texts.
   */
  public CompareRequest {
    goal = Objects.requireNonNullElse(goal, Goal.QUARTER);
    strategies = strategies == null ? Strategy.usual() : List.copyOf(strategies);
    texts = Objects.requireNonNullElse(texts, TextSettings.DEFAULT);
    fit = Objects.requireNonNullElse(fit, FitSettings.DEFAULT);
  }

  /** The usual strategies at a size, with defaults for all else. */
  public static CompareRequest of(Goal goal) {
    return new CompareRequest(
        goal, Strategy.usual(), TextSettings.DEFAULT, FitSettings.DEFAULT, null);
  }

  /** The same with other strategies. */
  public CompareRequest withStrategies(List<Strategy> others) {
    return new CompareRequest(goal, others, texts, fit, passages);
  }

  /** The same with other texts to score and measure on. */
  public CompareRequest withTexts(TextSettings others) {
    return new CompareRequest(goal, strategies, others, fit, passages);
  }

  /** The same with another text to fit on. */
  public CompareRequest withFit(FitSettings other) {
    return new CompareRequest(goal, strategies, texts, other, passages);
  }

  /** The same, which also measures how often the last word of a passage is known. */
  public CompareRequest withPassages(@Nullable Passages others) {
    return new CompareRequest(goal, strategies, texts, fit, others);
  }
}
