package dev.laco.collapse;

import org.jspecify.annotations.Nullable;

/**
 * One candidate that was scored.
 *
 * @param step 0-based, in order
 * @param base index of the base in the model that it was made of
 * @param merged number of followers
 * @param layersBefore depth of that model
 * @param accepted whether it is on the way to the model that the search chose
 * @param choice what was chosen beside the span; null in the paper's loop, where nothing is
 */
public record Trial(
    int step,
    int base,
    int merged,
    int layersBefore,
    Score score,
    boolean accepted,
    @Nullable Choice choice) {
  /** The parent of a candidate that was made of the original. */
  public static final int ORIGINAL = -1;

  /**
   * What a search over models, spans and rules chose.
   *
   * @param parent step of the trial whose model was merged further, or {@link #ORIGINAL}
   * @param rule how the span was merged
   * @param objective what the search makes as good as it can
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

  /** This candidate on the way to the chosen model. */
  Trial accept() {
    return new Trial(step, base, merged, layersBefore, score, true, choice);
  }
}
