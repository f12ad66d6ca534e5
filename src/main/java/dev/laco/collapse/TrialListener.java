package dev.laco.collapse;

/** Told of every candidate that had to be scored, as it is decided. */
@FunctionalInterface
public interface TrialListener {
  /**
   * Called after each decision.
   *
   * @param progress share of the search that is done at least, 0 to 1
   */
  void onTrial(Trial trial, double progress);

  /** Called when a model is the best so far: the closest to the depth that is sought. */
  default void onBest(CollapsePlan plan, Score score) {}
}
