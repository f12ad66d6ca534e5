package dev.laco.backend;

/**
 * How far the result of a backend may be from the result of the reference, relative to its largest
 * magnitude, and why.
 */
public enum Tolerance {
  /** A copy, or one correctly rounded operation, which every backend must give exactly. */
  EXACT(0),
  /** Some f32 operations for each element: each has an error of up to 6e-8. */
  ELEMENTWISE(1e-6),
  /** Sums of up to some thousand f32 products: the error grows with the root of their number. */
  ACCUMULATED(5e-6),
  /** Sums in f64 of blocks whose products are summed in f32: the error is that of a block. */
  COSINE(1e-6),
  /**
   * Absolute, in nats: the error of logits of magnitude 10 in f32, and of the sum of exponentials
   * over a vocabulary.
   */
  LOG_PROBABILITY(2e-5),
  /**
   * Products whose factor {@code x} is rounded to bf16, with 8 significant bits: a relative error
   * of up to 2^-9 for each product, which partly cancel in a sum.
   */
  BF16_PRODUCT(4e-3),
  /**
   * Attention whose queries, keys, softmax weights and values are rounded to bf16: four relative
   * errors of up to 2^-9 each, which partly cancel in a sum.
   */
  BF16_ATTENTION(6e-3),
  /** Likewise of its gradients, which have the rounded gradients by its output and by scores. */
  BF16_ATTENTION_GRADIENT(1.2e-2),
  /** Absolute, in nats: the error of logits of magnitude 10 whose products are rounded to bf16. */
  BF16_LOG_PROBABILITY(6e-2);

  private final double limit;

  Tolerance(double limit) {
    this.limit = limit;
  }

  double limit() {
    return limit;
  }
}
