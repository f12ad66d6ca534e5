package dev.laco.collapse;

/** Is told of every candidate that had to be scored, when it is accepted or rejected. */
@FunctionalInterface
public interface TrialListener {
  /**
   * Called after each decision.
   *
   * @param progress lower bound of the share of the search that is done, 0 to 1
   */
  void onTrial(Trial trial, double progress);

  /**
   * Called while a search measures what it decides by.
   *
   * @param progress the share of the search that is done, 0 to 1
   */
  default void onProgress(double progress) {}

  /** Called when a model is the best so far: the closest to the depth that is sought. */
  default void onBest(CollapsePlan plan, Score score) {}
}
