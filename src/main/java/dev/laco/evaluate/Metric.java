package dev.laco.evaluate;

import java.util.Arrays;
import java.util.PrimitiveIterator;
import java.util.Set;
import java.util.SplittableRandom;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;

/**
 * A quantity that is measured of every item of a task, and its value over the items: a share of
 * right answers or another mean, a perplexity, {@code exp} of the negative mean of log-likelihoods,
 * or bits.
 */
public final class Metric {
  /** The name of the share of right answers. */
  public static final String ACCURACY = "acc";

  /** The name of the share that is right by likelihoods for each character of the answer. */
  public static final String BY_CHARACTERS = "acc_norm";

  /** The name of the share that is right by likelihoods for each byte of the answer. */
  public static final String BY_BYTES = "acc_bytes";

  /** The name of the share that is right by what the question adds to the likelihoods. */
  public static final String MUTUAL_INFORMATION = "acc_mutual_info";

  /** The name of the perplexity of continuations. */
  public static final String PERPLEXITY = "perplexity";

  /** The name of the perplexity of texts for each word. */
  public static final String WORD_PERPLEXITY = "word_perplexity";

  /** The name of the perplexity of texts for each byte. */
  public static final String BYTE_PERPLEXITY = "byte_perplexity";

  /** The name of the bits for each byte of texts. */
  public static final String BITS = "bits_per_byte";

  /** The name of the share of generated answers that are right and stand behind four hashes. */
  public static final String STRICT = "strict-match";

  /** The name of the share of generated answers whose last number is right. */
  public static final String FLEXIBLE = "flexible-extract";

  /** The name of the share of n-grams of a generated text that stood there before. */
  public static final String REPETITION = "repetition";

  private static final String EXACT_MATCH = "exact_match";

  private static final Set<String> SHARES =
      Set.of(ACCURACY, BY_CHARACTERS, BY_BYTES, MUTUAL_INFORMATION, STRICT, FLEXIBLE);

  /** Samples of a bootstrap. */
  private static final int BOOTSTRAP = 1000;

  private static final long SEED = 1234;

  private final String name;
  private final double[] items;
  private final double[] weights;

  /**
   * A metric of items that count the same.
   *
   * @param items the value of each item, at least one
   */
  Metric(String name, double[] items) {
    this(name, items, ones(items.length));
  }

  /**
   * A metric of items that have words or bytes.
   *
   * @param items the value of each item, at least one
   * @param weights the number of words or bytes of each item
   */
  Metric(String name, double[] items, double[] weights) {
    this.name = name;
    this.items = items.clone();
    this.weights = weights.clone();
  }

  private static double[] ones(int count) {
    double[] ones = new double[count];
    Arrays.fill(ones, 1);
    return ones;
  }

  /** The name that lm-evaluation-harness gives the metric: {@code acc}. */
  public String name() {
    return name;
  }

  /**
   * The name of the kind of metric, which several filters of one text share: {@code exact_match}.
   */
  public String harnessName() {
    return harnessName(name);
  }

  static String harnessName(String name) {
    return Gsm8k.FILTERS.contains(name) ? EXACT_MATCH : name;
  }

  /** Number of items. */
  public int count() {
    return items.length;
  }

  /**
   * The value of an item: 1 for a right answer and 0 for a wrong one, a rate, or a log-likelihood.
   */
  public double item(int index) {
    return items[index];
  }

  /** Whether the value is a share of right answers, of which more are better. */
  public boolean isShare() {
    return isShare(name);
  }

  /** Whether a metric of this name is a share of right answers. */
  public static boolean isShare(String name) {
    return SHARES.contains(name);
  }

  /** Whether a metric of this name is a mean from 0 to 1, as shares of right answers are. */
  public static boolean isRate(String name) {
    return isShare(name) || name.equals(REPETITION);
  }

  /** The value over all items. */
  public double value() {
    return valueOf(IntStream.range(0, items.length));
  }

  /** The value of one item alone. */
  public double valueOf(int item) {
    return valueOf(IntStream.of(item));
  }

  /** The value over some items, which may stand there several times. */
  double valueOf(IntStream some) {
    double sum = 0;
    double weight = 0;
    for (PrimitiveIterator.OfInt each = some.iterator(); each.hasNext(); ) {
      int item = each.nextInt();
      sum += items[item];
      weight += weights[item];
    }
    double mean = sum / weight;
    return isRate(name) ? mean : name.equals(BITS) ? -mean / Math.log(2) : Math.exp(-mean);
  }

  /**
   * The standard error of {@link #value}: of a mean {@code s / sqrt(n)} with the sample's standard
   * deviation, of others that of {@value #BOOTSTRAP} bootstrap samples of the items, with a fixed
   * seed. NaN of one item.
   */
  public double standardError() {
    if (items.length < 2) {
      return Double.NaN;
    }
    if (isRate(name)) {
      return deviation(items) / Math.sqrt(items.length);
    }
    SplittableRandom random = new SplittableRandom(SEED);
    double[] values = new double[BOOTSTRAP];
    Arrays.setAll(values, sample -> valueOf(random.ints(items.length, 0, items.length)));
    return deviation(values);
  }

  /**
   * The 95 % interval of {@link #value}, of a share of right answers or another rate.
   *
   * @throws IllegalStateException if the value is no rate
   */
  public Interval interval() {
    if (!isRate(name)) {
      throw new IllegalStateException(name + " is no rate");
    }
    return isShare()
        ? Interval.ofShare(value(), items.length)
        : Interval.ofMean(value(), standardError());
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
        && Arrays.equals(items, that.items)
        && Arrays.equals(weights, that.weights);
  }

  @Override
  public int hashCode() {
    return 31 * name.hashCode() + Arrays.hashCode(items);
  }
}
