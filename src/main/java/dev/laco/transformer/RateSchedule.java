package dev.laco.transformer;

/**
 * How the learning rate of a training goes: it rises in a line to its peak, and then falls in a
 * line to zero (Bergsma et al. 2025, "Straight to Zero", arXiv 2502.15938).
 */
public final class RateSchedule {
  /** The share of the training in which the rate rises. */
  private static final double WARMUP = 0.1;

  private RateSchedule() {}

  /**
   * The learning rate as a share of its peak.
   *
   * @param done the share of the training that is done, from 0 to 1
   */
  public static double share(double done) {
    return done < WARMUP ? done / WARMUP : (1 - done) / (1 - WARMUP);
  }
}
