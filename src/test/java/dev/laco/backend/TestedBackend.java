package dev.laco.backend;

import dev.laco.model.DType;

/**
 * A backend that the contracts are tested on, and how far its results may be from the reference.
 */
public interface TestedBackend {
  /** Opens the backend; the contract closes it. */
  Backend open();

  /** The tolerance of matrix products with weights of a dtype. */
  default Tolerance product(DType weights) {
    return Tolerance.ACCUMULATED;
  }

  /** The tolerance of log-probabilities and divergences, with a head of a dtype. */
  default Tolerance logProbability(DType head) {
    return Tolerance.LOG_PROBABILITY;
  }

  /** The tolerance of attention that multiplies in a dtype. */
  default Tolerance attention(DType products) {
    return Tolerance.ACCUMULATED;
  }

  /** The tolerance of the gradients of attention. */
  default Tolerance attentionGradient(AttentionSpec spec) {
    return attention(spec.products());
  }

  /** The tolerance of cross products. */
  default Tolerance crossProduct() {
    return Tolerance.ACCUMULATED;
  }
}
