package dev.laco.evaluate;

/**
 * The 95 % confidence interval of a value or of a change.
 *
 * @param low lower end
 * @param high upper end
 */
public record Interval(double low, double high) {
  /** The 97.5 % quantile of the normal distribution. */
  private static final double Z = 1.959963984540054;

  /** The interval of a share of items by Wilson's score (1927), which lies within 0 to 1. */
  static Interval ofShare(double share, int items) {
    double ratio = Z * Z / items;
    double middle = (share + ratio / 2) / (1 + ratio);
    double half = Math.sqrt(ratio * (share * (1 - share) + ratio / 4)) / (1 + ratio);
    return new Interval(Math.max(0, middle - half), Math.min(1, middle + half));
  }

  /**
   * The interval of a mean of values from 0 to 1 by the normal approximation, within 0 to 1.
   *
   * @param error the standard error of the mean; NaN where it is not known, as both ends are then
   */
  static Interval ofMean(double mean, double error) {
    return new Interval(Math.max(0, mean - Z * error), Math.min(1, mean + Z * error));
  }

  /**
   * The interval of the difference of two shares of the same items (Bonett and Price 2012): the
   * normal approximation with one item more lost and one more won, which holds for few items and
   * for few flips, too.
   */
  static Interval ofShares(McNemar flips, int items) {
    double count = items + 2.0;
    double lost = (flips.lost() + 1) / count;
    double won = (flips.won() + 1) / count;
    double difference = won - lost;
    double half = Z * Math.sqrt((won + lost - difference * difference) / count);
    return new Interval(Math.max(-1, difference - half), Math.min(1, difference + half));
  }

  /**
   * The interval of a median between two of the measured values, which holds for any distribution:
   * the number of values below the median is binomial. With fewer than six values the interval from
   * the least to the largest holds less often than in 95 % of all cases.
   *
   * @param ascending at least one value
   */
  public static Interval ofMedian(double[] ascending) {
    int count = ascending.length;
    double term = Math.pow(2, -count);
    double below = term;
    int outside = 0;
    while (2 * (below + term * (count - outside) / (outside + 1)) <= 0.05) {
      term *= (double) (count - outside) / ++outside;
      below += term;
    }
    return new Interval(ascending[outside], ascending[count - 1 - outside]);
  }
}
