package dev.laco.compare;

import dev.laco.JobEvent;
import dev.laco.report.LastWord;
import dev.laco.report.Perplexity;
import org.jspecify.annotations.Nullable;

/** An event of a comparison, beside those that every job has. */
public sealed interface CompareEvent extends JobEvent {
  /**
   * The original was measured.
   *
   * @param perplexity perplexity on the evaluation text
   * @param lastWord how often the last word of a passage is known; null where that was not asked
   *     for
   */
  record DenseMeasured(Perplexity perplexity, @Nullable LastWord lastWord)
      implements CompareEvent {}

  /** A strategy's model was measured. */
  record StrategyMeasured(CompareResult.Row row) implements CompareEvent {}

  /** A strategy has no model of the size, or its model cannot be measured. */
  record StrategyLeftOut(CompareResult.LeftOut leftOut) implements CompareEvent {}
}
