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

  /** Scores again, with no plan beside it, a plan that was scored before. */
  default Score scoreAlone(CollapsePlan plan) {
    return score(List.of(plan)).getFirst();
  }

  /** Says that nothing was decided on the scores of these plans. */
  default void dropped(List<CollapsePlan> plans) {}

  /**
   * What a pass costs beside its plans, in what it costs to score one of them; 0 if it saves
   * nothing to score several at once.
   */
  default double passCost() {
    return 0;
  }

  /** Passes over the original layers so far, the reference run included. */
  int sweeps();

  /** What scoring took so far. */
  default Work work() {
    return Work.NONE;
  }
}
