package dev.laco.collapse;

import java.util.List;

/** Says how much of the original model a plan keeps. */
public interface Scorer {
  /**
   * Scores plans of one source model in one pass over its layers.
   *
   * @return one score per plan, in order
   */
  List<Score> score(List<CollapsePlan> plans);

  /** Says that plans to come begin like these: what they leave behind is worth keeping. */
  default void keep(List<CollapsePlan> plans) {}

  /**
   * By how much the mean of a score may differ with the plans that were scored beside it; 0 if it
   * never does.
   */
  default double noise() {
    return 0;
  }

  /** Passes over the original layers so far, the reference run included. */
  int sweeps();

  /** What scoring took so far. */
  default Work work() {
    return Work.NONE;
  }
}
