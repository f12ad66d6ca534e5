package dev.laco.report;

/**
 * Negative log-likelihood of a text.
 *
 * @param tokens scored tokens
 * @param meanNll mean negative log-likelihood per scored token, nats
 */
public record Perplexity(long tokens, double meanNll) {
  /** {@code exp(meanNll)}. */
  public double perplexity() {
    return Math.exp(meanNll);
  }
}
