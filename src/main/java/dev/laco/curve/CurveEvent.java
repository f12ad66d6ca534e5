package dev.laco.curve;

import dev.laco.JobEvent;

/** An event of a curve, beside those that every job has. */
public sealed interface CurveEvent extends JobEvent {
  /**
   * The search is over, or was read from the folder.
   *
   * @param models the number of models that were scored; 0 of a search in closed form, and where
   *     the search was read
   * @param blocks the number of blocks of layers whose removal a search in closed form measured; 0
   *     of another search, and where the search was read
   */
  record Searched(int models, int blocks) implements CurveEvent {}

  /**
   * A model was measured, or what was measured of it was read from the folder.
   *
   * @param known whether it was read
   */
  record PointMeasured(CurveResult.Point point, boolean known) implements CurveEvent {}
}
