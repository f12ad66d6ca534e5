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
 * What strategies leave of a model.
 *
 * @param model the original's folder
 * @param layersIn layers of the original
 * @param layersOut layers of every other model
 * @param text that perplexity was measured on, for people
 * @param dense the original's perplexity
 * @param denseLastWord how often the original knows a last word; null where it was not asked for
 * @param rows the strategies that were measured, the lowest perplexity first
 * @param leftOut the strategies that were not
 * @param warnings of the job
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
  public CompareResult {
    rows = List.copyOf(rows);
    leftOut = List.copyOf(leftOut);
    warnings = List.copyOf(warnings);
  }

  /**
   * What a strategy leaves.
   *
   * @param plan the model, as a plan over the original; it names the tensors that were fitted,
   *     which are gone
   * @param score of the model on the calibration text
   * @param fidelity of the model on the evaluation text
   * @param lastWord how often it knows a last word; null where it was not asked for
   * @param seconds until the model was there
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
   * @param template why, with {@link Setting}s as they were put into it
   */
  public record LeftOut(Strategy strategy, String template) {
    /** Why, with settings called by their names in requests. */
    public String reason() {
      return Setting.show(template, name -> name);
    }
  }

  /** The perplexity of a row in multiples of the original's. */
  public double ratio(Row row) {
    return Math.exp(row.fidelity.perplexity().meanNll() - dense.meanNll());
  }
}
