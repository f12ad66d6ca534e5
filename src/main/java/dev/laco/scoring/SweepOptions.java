package dev.laco.scoring;

import dev.laco.collapse.Objective;

/**
 * How a {@link SweepScorer} works.
 *
 * @param candidates at most so many plans are carried through one pass, at least 1
 * @param bytes what buffers may take; what one candidate needs is taken in any case
 * @param objective what scores must tell of
 * @param passCost see {@link dev.laco.collapse.Scorer#passCost}
 */
public record SweepOptions(int candidates, long bytes, Objective objective, double passCost) {
  /** As many candidates as use a processor or a device well; more only take room. */
  public static final int CANDIDATES = 32;

  public SweepOptions {
    if (candidates < 1 || bytes < 0) {
      throw new IllegalArgumentException(candidates + " candidates in " + bytes + " bytes");
    }
  }

  /** So many candidates of similarity alone, with all the buffers that they want. */
  public static SweepOptions of(int candidates) {
    return new SweepOptions(candidates, Long.MAX_VALUE, Objective.COSINE, 0);
  }

  /** The same with buffers of at most so many bytes. */
  public SweepOptions withBytes(long most) {
    return new SweepOptions(candidates, most, objective, passCost);
  }

  /** The same with what an objective needs. */
  public SweepOptions with(Objective wanted) {
    return new SweepOptions(candidates, bytes, wanted, passCost);
  }

  /** The same where a pass costs so much beside its candidates. */
  public SweepOptions withPassCost(double cost) {
    return new SweepOptions(candidates, bytes, objective, cost);
  }
}
