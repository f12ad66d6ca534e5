package dev.laco.compare;

import dev.laco.JobEvent;
import dev.laco.report.LastWord;
import dev.laco.report.Perplexity;
import org.jspecify.annotations.Nullable;

/** What a comparison tells while it goes on, beside what every job tells. */
public sealed interface CompareEvent extends JobEvent {
  /**
   * The original was measured.
   *
   * @param lastWord null where it was not asked for
   */
  record DenseMeasured(Perplexity perplexity, @Nullable LastWord lastWord)
      implements CompareEvent {}

  /** A strategy's model was measured. */
  record StrategyMeasured(CompareResult.Row row) implements CompareEvent {}

  /** A strategy has no model of this size, or none that can be measured. */
  record StrategyLeftOut(CompareResult.LeftOut leftOut) implements CompareEvent {}
}
