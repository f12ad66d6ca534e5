package dev.laco.curve;

import dev.laco.JobEvent;

/** An event of a curve, beside those that every job has. */
public sealed interface CurveEvent extends JobEvent {
  /**
   * The search is over, or was read from the folder.
   *
   * @param models the number of models that were scored; 0 where the search was read
   */
  record Searched(int models) implements CurveEvent {}

  /**
   * A model was measured, or what was measured of it was read from the folder.
   *
   * @param known whether it was read
   */
  record PointMeasured(CurveResult.Point point, boolean known) implements CurveEvent {}
}
