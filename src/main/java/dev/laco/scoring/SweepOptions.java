package dev.laco.scoring;

import dev.laco.collapse.Objective;

/**
 * Settings of a {@link SweepScorer}.
 *
 * @param candidates the most plans that run in one pass, at least 1
 * @param bytes the most memory of the buffers; one candidate gets its memory in any case
 * @param objective which decides whether scores need a {@link dev.laco.collapse.Score.Language}
 * @param passCost see {@link dev.laco.collapse.Scorer#passCost}
 */
public record SweepOptions(int candidates, long bytes, Objective objective, double passCost) {
  /** A number of candidates that uses a processor or a GPU well; more only take memory. */
  public static final int CANDIDATES = 32;

  public SweepOptions {
    if (candidates < 1 || bytes < 0) {
      throw new IllegalArgumentException(candidates + " candidates in " + bytes + " bytes");
    }
  }

  /** Settings for the cosine objective, without a limit of memory. */
  public static SweepOptions of(int candidates) {
    return new SweepOptions(candidates, Long.MAX_VALUE, Objective.COSINE, 0);
  }

  /** The same settings with a limit of memory. */
  public SweepOptions withBytes(long most) {
    return new SweepOptions(candidates, most, objective, passCost);
  }

  /** The same settings with another objective. */
  public SweepOptions with(Objective wanted) {
    return new SweepOptions(candidates, bytes, wanted, passCost);
  }

  /** The same settings with a fixed cost of a pass. */
  public SweepOptions withPassCost(double cost) {
    return new SweepOptions(candidates, bytes, objective, cost);
  }
}
