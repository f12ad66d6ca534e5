package dev.laco.model;

/**
 * What becomes of the numbers that a softmax takes, of attention or of the head: {@code scale * x},
 * and with a soft-cap {@code softCap * tanh(scale * x / softCap)} (Gemma 2, arXiv 2408.00118).
 *
 * @param scale above 0
 * @param softCap bound on the magnitude of the results; 0 for none
 */
public record LogitSpec(double scale, double softCap) {
  /** Leaves logits as they are. */
  public static final LogitSpec PLAIN = new LogitSpec(1, 0);

  public LogitSpec {
    if (!(scale > 0) || !(softCap >= 0)) {
      throw new IllegalArgumentException("logits times " + scale + ", capped at " + softCap);
    }
  }

  /** The result for one number. */
  public double apply(double x) {
    return softCap == 0 ? scale * x : softCap * Math.tanh(scale * x / softCap);
  }
}
