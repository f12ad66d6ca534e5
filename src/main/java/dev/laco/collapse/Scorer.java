package dev.laco.collapse;

import java.util.List;

/** Measures how close the models of plans are to the original. */
public interface Scorer {
  /**
   * Scores plans of one source model in one pass over its layers.
   *
   * @return one score per plan, in order
   */
  List<Score> score(List<CollapsePlan> plans);

  /** Announces that later plans have the same first layers as these, so that caching them pays. */
  default void keep(List<CollapsePlan> plans) {}

  /**
   * Announces that later plans are made of this one, so that storing the layers that it has mixed
   * pays.
   */
  default void accepted(CollapsePlan plan) {}

  /**
   * A bound on how much the mean similarity of a plan depends on the plans that are scored in the
   * same call; 0 if it does not depend on them.
   */
  default double noise() {
    return 0;
  }

  /** Scores a plan a second time, in a call of its own. */
  default Score scoreAlone(CollapsePlan plan) {
    return score(List.of(plan)).getFirst();
  }

  /** Announces that the scores of these plans decided nothing; only counters need to know. */
  default void dropped(List<CollapsePlan> plans) {}

  /**
   * The fixed cost of a pass, in units of the cost of scoring one plan; 0 if scoring several plans
   * at once saves nothing.
   */
  default double passCost() {
    return 0;
  }

  /** Number of passes over the original's layers so far, the original's own included. */
  int sweeps();

  /** The work of scoring so far. */
  default Work work() {
    return Work.NONE;
  }
}
