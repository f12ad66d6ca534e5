package dev.laco.collapse;

/**
 * Bisection for the highest similarity threshold that reaches a depth. Similarities are cosines, so
 * that the search begins with [-1, 1]; each step halves the interval. The depth is not monotone in
 * the threshold, so the result is the highest of the thresholds that were tried.
 */
public final class Bisection {
  /** Steps of a search: the last interval is 2^-11 wide. */
  public static final int STEPS = 12;

  private double low = -1;
  private double high = 1;

  /** No threshold has been tried yet. */
  public Bisection() {}

  /** The threshold to try next: the middle of the interval. */
  public double threshold() {
    return (low + high) / 2;
  }

  /**
   * Halves the interval at {@link #threshold}.
   *
   * @param reached whether the depth was reached with that threshold, so that a higher one may be
   *     tried
   */
  public void halve(boolean reached) {
    if (reached) {
      low = threshold();
    } else {
      high = threshold();
    }
  }
}
