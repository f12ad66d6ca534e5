package dev.laco.model;

/**
 * What a norm of rows does beside multiplying by its weight: an RMS norm (Zhang and Sennrich 2019)
 * is {@code (offset + weight) * x / sqrt(mean(x^2) + eps)}, and a layer norm (Ba et al. 2016) the
 * same of {@code x - mean(x)}, plus a bias.
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
