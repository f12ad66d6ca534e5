package dev.laco.scoring;

import dev.laco.backend.Backend;

/**
 * By how much the mean similarity of a plan may differ with the number of candidates that ran as
 * one batch with it: matrices of other heights may be multiplied by other code, in another order.
 * {@code BatchNoiseTest} measures it.
 *
 * <p>On the CPU nothing differed where a candidate alone has more rows than our kernel for few rows
 * takes. Below that, the largest that was seen, on SmolLM2-135M, was 2.9e-7 in f32, and 2.1e-3
 * where products round activations, which the kernel for few rows does not. The bounds leave room
 * for other models. Those of the CUDA backend are taken from the CPU's until it is measured.
 */
final class BatchNoise {
  private static final double F32 = 2e-6;
  private static final double ROUNDED = 5e-3;

  private BatchNoise() {}

  /** The bound for a backend. */
  static double of(Backend backend) {
    if (backend.device().startsWith("reference")) {
      // Sums of one row, whatever lies beside it.
      return 0;
    }
    return backend.roundsActivations() ? ROUNDED : F32;
  }
}
