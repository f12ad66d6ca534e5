package dev.laco.collapse;

/**
 * One candidate that was scored.
 *
 * @param step 0-based, in order
 * @param base index of the base in the model at that moment
 * @param merged number of followers
 * @param layersBefore depth at that moment
 */
public record Trial(
    int step, int base, int merged, int layersBefore, Score score, boolean accepted) {
  /** Depth after this trial. */
  public int layersAfter() {
    return accepted ? layersBefore - merged : layersBefore;
  }
}
