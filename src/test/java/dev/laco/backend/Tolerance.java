package dev.laco.backend;

/**
 * How far a backend may be from the reference, relative to the largest magnitude of the result, and
 * why.
 */
public enum Tolerance {
  /** A copy, or one correctly rounded operation: nothing to lose. */
  EXACT(0),
  /** A handful of f32 operations per element: some units in the last place of 6e-8. */
  ELEMENTWISE(1e-6),
  /** Sums of up to some thousand f32 products: rounding grows with the root of their number. */
  ACCUMULATED(5e-6),
  /** Sums that end in f64: what is left is the rounding of products within a block. */
  COSINE(1e-6),
  /**
   * Absolute, in nats: logits of magnitude 10 to f32, and the sum of exponentials over a
   * vocabulary.
   */
  LOG_PROBABILITY(2e-5),
  /** x rounded to bf16, 8 significant bits: relative 2^-9 per product, averaged over the sum. */
  BF16_PRODUCT(4e-3),
  /** Absolute, in nats: the same on logits of magnitude 10. */
  BF16_LOG_PROBABILITY(6e-2);

  private final double limit;

  Tolerance(double limit) {
    this.limit = limit;
  }

  double limit() {
    return limit;
  }
}
