package dev.laco.collapse;

import java.util.List;

/** Says how much of the original model a plan keeps. */
public interface Scorer {
  /**
   * Scores plans of one source model.
   *
   * @return one score per plan, in order
   */
  List<Score> score(List<CollapsePlan> plans);

  /** Passes over the original layers so far, the reference run included. */
  int sweeps();
}
