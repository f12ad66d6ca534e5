package dev.laco.evaluate;

/**
 * The exact McNemar test of two models on the same items (McNemar 1947): under the hypothesis that
 * both are equally good, an item that only one of them gets right is as often the one's as the
 * other's.
 *
 * @param lost items that the first model gets right and the second wrong
 * @param won items that the first model gets wrong and the second right
 */
public record McNemar(long lost, long won) {
  /**
   * The two-sided p-value: the probability, of a binomial distribution with {@code lost + won}
   * trials of probability 1/2, of a split at least as uneven as this one.
   */
  public double pValue() {
    long trials = lost + won;
    long fewer = Math.min(lost, won);
    // Twice the lower tail: C(n, k) / 2^n, by logarithms, since 2^n overflows.
    double logTerm = -trials * Math.log(2);
    double tail = Math.exp(logTerm);
    for (long k = 1; k <= fewer; k++) {
      logTerm += Math.log((double) (trials - k + 1) / k);
      tail += Math.exp(logTerm);
    }
    return Math.min(1, 2 * tail);
  }
}
