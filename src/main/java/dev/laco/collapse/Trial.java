package dev.laco.collapse;

import org.jspecify.annotations.Nullable;

/**
 * One candidate that was scored.
 *
 * @param step 0-based, in order
 * @param base index of the base in the model before the merge
 * @param merged number of followers
 * @param layersBefore depth of the model before the merge
 * @param accepted whether the merge is one of those that lead to the chosen model
 * @param choice the parent, rule and objective; null in the paper's loop, which has one of each
 */
public record Trial(
    int step,
    int base,
    int merged,
    int layersBefore,
    Score score,
    boolean accepted,
    @Nullable Choice choice) {
  /** The {@link Choice#parent} of a merge of the original's layers. */
  public static final int ORIGINAL = -1;

  /**
   * What a search over models, spans and rules chooses beside the span.
   *
   * @param parent step of the trial whose model was merged, or {@link #ORIGINAL}
   * @param rule by which the span was merged
   * @param objective by which the search compares models
   */
  public record Choice(int parent, MergeRule rule, Objective objective) {}

  /** A candidate of the paper's loop. */
  public Trial(int step, int base, int merged, int layersBefore, Score score, boolean accepted) {
    this(step, base, merged, layersBefore, score, accepted, null);
  }

  /** Depth after this trial. */
  public int layersAfter() {
    return accepted ? layersBefore - merged : layersBefore;
  }

  /** The same trial, accepted. */
  Trial accept() {
    return new Trial(step, base, merged, layersBefore, score, true, choice);
  }
}
