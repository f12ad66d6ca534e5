package dev.laco.model;

/**
 * What a norm of rows does beside multiplying by its weight: {@code (offset + weight) * x /
 * sqrt(mean(x^2) + eps)} (Zhang and Sennrich 2019).
 *
 * @param eps at least 0
 * @param offset number that is added to every weight: 0, or 1 in families that store weights around
 *     0
 */
public record NormSpec(double eps, double offset) {
  /** The weight with which the norm multiplies by 1. */
  public float neutralWeight() {
    return (float) (1 - offset);
  }
}
