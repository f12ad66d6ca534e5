package dev.laco.evaluate;

import java.util.Arrays;
import java.util.SplittableRandom;
import org.jspecify.annotations.Nullable;

/**
 * A quantity that is measured of every item of a task, and its mean over the items: a share of
 * right answers, or a perplexity, which is {@code exp} of the negative mean of log-likelihoods.
 */
public final class Metric {
  /** The name of the share of right answers. */
  public static final String ACCURACY = "acc";

  /** The name of the share that is right by likelihoods for each character of the answer. */
  public static final String BY_CHARACTERS = "acc_norm";

  /** The name of the share that is right by likelihoods for each byte of the answer. */
  public static final String BY_BYTES = "acc_bytes";

  /** The name of the metric that is no share of right answers. */
  public static final String PERPLEXITY = "perplexity";

  /** Samples of a bootstrap. */
  private static final int BOOTSTRAP = 1000;

  private static final long SEED = 1234;

  private final String name;
  private final double[] items;

  /**
   * A metric.
   *
   * @param items the value of each item, at least one
   */
  Metric(String name, double[] items) {
    this.name = name;
    this.items = items.clone();
  }

  /** The name that lm-evaluation-harness gives the metric: {@code acc}. */
  public String name() {
    return name;
  }

  /** Number of items. */
  public int count() {
    return items.length;
  }

  /** The value of an item: 1 for a right answer and 0 for a wrong one, or a log-likelihood. */
  public double item(int index) {
    return items[index];
  }

  /** Whether the value is a share of right answers, of which more are better; else a perplexity. */
  public boolean isShare() {
    return !name.equals(PERPLEXITY);
  }

  /** The value over all items. */
  public double value() {
    return valueOf(Arrays.stream(items).sum() / items.length);
  }

  private double valueOf(double mean) {
    return isShare() ? mean : Math.exp(-mean);
  }

  /**
   * The standard error of {@link #value}: of a mean {@code s / sqrt(n)} with the sample's standard
   * deviation, of a perplexity that of {@value #BOOTSTRAP} bootstrap samples of the items, with a
   * fixed seed. NaN of one item.
   */
  public double standardError() {
    if (items.length < 2) {
      return Double.NaN;
    }
    return isShare() ? deviation(items) / Math.sqrt(items.length) : deviation(bootstrap());
  }

  private double[] bootstrap() {
    SplittableRandom random = new SplittableRandom(SEED);
    double[] values = new double[BOOTSTRAP];
    for (int sample = 0; sample < BOOTSTRAP; sample++) {
      double sum = 0;
      for (int i = 0; i < items.length; i++) {
        sum += items[random.nextInt(items.length)];
      }
      values[sample] = valueOf(sum / items.length);
    }
    return values;
  }

  private static double deviation(double[] values) {
    double mean = Arrays.stream(values).average().orElseThrow();
    double squares = Arrays.stream(values).map(value -> (value - mean) * (value - mean)).sum();
    return Math.sqrt(squares / (values.length - 1));
  }

  /** Equal if the values of all items are. */
  @Override
  public boolean equals(@Nullable Object other) {
    return other instanceof Metric that
        && name.equals(that.name)
        && Arrays.equals(items, that.items);
  }

  @Override
  public int hashCode() {
    return 31 * name.hashCode() + Arrays.hashCode(items);
  }
}
