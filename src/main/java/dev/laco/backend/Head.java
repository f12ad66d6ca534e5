package dev.laco.backend;

import dev.laco.model.LogitSpec;

/**
 * The output projection, which turns last hidden states into logits.
 *
 * @param weight {@code [V, d]}
 * @param unitRows whether each row of the weight counts divided by its length {@code max(|w|,
 *     LEAST_LENGTH)}, as in Baichuan 2 (arXiv 2309.10305)
 * @param spec what becomes of the products of weight and hidden states
 */
public record Head(Tensor weight, boolean unitRows, LogitSpec spec) {
  /** What a shorter row is divided by. */
  public static final double LEAST_LENGTH = 1e-12;

  /** A head whose rows count as they are. */
  public Head(Tensor weight, LogitSpec spec) {
    this(weight, false, spec);
  }

  /**
   * The least mean square of a row, by which {@link SolvingOps#inverseRms} gives {@code sqrt(d)}
   * divided by the length of the row.
   */
  public double leastMeanSquare() {
    return LEAST_LENGTH * LEAST_LENGTH / weight.columns();
  }

  /** {@link #spec} for products that were multiplied by the {@code inverseRms} of their rows. */
  public LogitSpec byInverseRms() {
    return new LogitSpec(spec.scale() / Math.sqrt((double) weight.columns()), spec.softCap());
  }
}
