package dev.laco.scoring;

import dev.laco.backend.Backend;
import dev.laco.backend.Compute;

/**
 * By how much the mean similarity of a plan may differ with the number of candidates that ran as
 * one batch with it: libraries multiply matrices of other heights in another order. A table of what
 * was measured, with room; {@code BatchNoiseTest} measures it again.
 */
final class BatchNoise {
  private BatchNoise() {}

  /** The bound for a backend. */
  static double of(Backend backend) {
    boolean exact = backend.compute() == Compute.F32;
    if (backend.device().startsWith("reference")) {
      return 0;
    }
    return exact ? 1e-5 : 1e-3;
  }
}
