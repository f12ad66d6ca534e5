package dev.laco.compare;

import dev.laco.Setting;
import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.Score;
import dev.laco.report.Fidelity;
import dev.laco.report.LastWord;
import dev.laco.report.Perplexity;
import java.nio.file.Path;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * How good the models are that strategies make of one original.
 *
 * @param model the original's folder
 * @param layersIn layers of the original
 * @param layersOut layers of every strategy's model
 * @param text names the evaluation text for people
 * @param dense perplexity of the original
 * @param denseLastWord how often the original knows the last word of a passage; null where that was
 *     not asked for
 * @param rows the strategies that were measured, the lowest perplexity first
 * @param leftOut the strategies that were not measured
 * @param warnings what a user was warned of
 */
public record CompareResult(
    Path model,
    int layersIn,
    int layersOut,
    String text,
    Perplexity dense,
    @Nullable LastWord denseLastWord,
    List<Row> rows,
    List<LeftOut> leftOut,
    List<String> warnings) {
  /** A result with copies of its lists. */
  public CompareResult {
    rows = List.copyOf(rows);
    leftOut = List.copyOf(leftOut);
    warnings = List.copyOf(warnings);
  }

  /**
   * The model of a strategy.
   *
   * @param strategy how the model was made
   * @param plan the model, as a plan over the original; the plan names the tensors that were
   *     fitted, which the result does not hold
   * @param score score of the model on the calibration text
   * @param fidelity perplexity of the model, and how near it is to the original, on the evaluation
   *     text
   * @param lastWord how often the model knows the last word of a passage; null where that was not
   *     asked for
   * @param seconds seconds that it took to find and fit the model
   */
  public record Row(
      Strategy strategy,
      CollapsePlan plan,
      Score score,
      Fidelity fidelity,
      @Nullable LastWord lastWord,
      double seconds) {}

  /**
   * A strategy without a model that can be measured.
   *
   * @param strategy the strategy
   * @param template why there is none, with the marks of {@link Setting}s
   */
  public record LeftOut(Strategy strategy, String template) {
    /** Why there is none, with settings called by their names in requests. */
    public String reason() {
      return Setting.show(template, name -> name);
    }
  }

  /** The perplexity of a strategy's model divided by that of the original. */
  public double ratio(Row row) {
    return Math.exp(row.fidelity.perplexity().meanNll() - dense.meanNll());
  }
}
