package dev.laco.run;

import dev.laco.Cancellation;
import dev.laco.model.TensorSource;

/**
 * The weights of a job that may be cancelled. A walk over layers calls {@link #release} before each
 * layer, and {@code release} ends the job if it was cancelled.
 */
final class CancellableWeights extends ForwardedWeights {
  private final Cancellation cancellation;

  /** Weights until the job is cancelled. */
  CancellableWeights(TensorSource weights, Cancellation cancellation) {
    super(weights);
    this.cancellation = cancellation;
  }

  @Override
  public void release() {
    cancellation.check();
    super.release();
  }
}
