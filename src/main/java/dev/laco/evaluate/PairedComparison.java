package dev.laco.evaluate;

import dev.laco.UsageException;
import java.util.Arrays;
import java.util.Locale;
import java.util.SplittableRandom;
import org.jspecify.annotations.Nullable;

/**
 * What a pruned model lost or won against the dense one at a task, item by item.
 *
 * @param metric the name of the metric
 * @param dense the dense model's value
 * @param pruned the pruned model's value
 * @param chance the value that guessing has; 0 where guessing is hopeless
 * @param interval of shares and other {@linkplain Metric#isRate rates} that of the difference
 *     {@code pruned - dense}, of perplexities and bits that of the ratio {@code pruned / dense}
 * @param flips items that one model gets right and the other wrong; null where answers are not
 *     right or wrong
 */
public record PairedComparison(
    String metric,
    double dense,
    double pruned,
    double chance,
    Interval interval,
    @Nullable McNemar flips) {
  /** Samples of the bootstrap. */
  private static final int SAMPLES = 2000;

  private static final long SEED = 1234;
  private static final double TAIL = 0.025;

  /**
   * Compares two results of one task and metric.
   *
   * @throws UsageException if the results are of different items
   */
  static PairedComparison of(TaskResult dense, TaskResult pruned, String metric) {
    Metric before = dense.metric(metric);
    Metric after = pruned.metric(metric);
    if (before.count() != after.count()) {
      throw new UsageException(
          String.format(
              Locale.ROOT,
              "%s was measured on %,d and on %,d items: only results on the same items can be"
                  + " compared",
              dense.task(),
              before.count(),
              after.count()));
    }
    return before.isShare()
        ? ofShares(before, after, dense.chance())
        : new PairedComparison(
            metric, before.value(), after.value(), 0, bootstrap(before, after), null);
  }

  /**
   * Compares two shares of right answers to the same items.
   *
   * @param chance the share that guessing has
   */
  static PairedComparison ofShares(Metric dense, Metric pruned, double chance) {
    McNemar flips = flips(dense, pruned);
    return new PairedComparison(
        dense.name(),
        dense.value(),
        pruned.value(),
        chance,
        Interval.ofShares(flips, dense.count()),
        flips);
  }

  private static McNemar flips(Metric before, Metric after) {
    long lost = 0;
    long won = 0;
    for (int i = 0; i < before.count(); i++) {
      lost += before.item(i) > after.item(i) ? 1 : 0;
      won += before.item(i) < after.item(i) ? 1 : 0;
    }
    return new McNemar(lost, won);
  }

  /**
   * The percentile interval of the ratio of two values, or of the difference of two rates: each of
   * {@value #SAMPLES} samples has as many items as there are, drawn with replacement, with a fixed
   * seed.
   */
  static Interval bootstrap(Metric before, Metric after) {
    SplittableRandom random = new SplittableRandom(SEED);
    int count = before.count();
    double[] changes = new double[SAMPLES];
    for (int sample = 0; sample < SAMPLES; sample++) {
      int[] drawn = random.ints(count, 0, count).toArray();
      double pruned = after.valueOf(Arrays.stream(drawn));
      double dense = before.valueOf(Arrays.stream(drawn));
      changes[sample] = Metric.isRate(before.name()) ? pruned - dense : pruned / dense;
    }
    Arrays.sort(changes);
    return new Interval(quantile(changes, TAIL), quantile(changes, 1 - TAIL));
  }

  /** A quantile of sorted values, linearly between the two nearest ones. */
  private static double quantile(double[] sorted, double share) {
    double place = share * (sorted.length - 1);
    int below = (int) place;
    int above = Math.min(below + 1, sorted.length - 1);
    return sorted[below] + (place - below) * (sorted[above] - sorted[below]);
  }

  /** The ratio {@code pruned / dense}: of a share how much of it is left. */
  public double kept() {
    return pruned / dense;
  }

  /**
   * The share of what the dense model knows beyond guessing that is left: {@code (pruned - chance)
   * / (dense - chance)}. NaN where the dense model does not beat guessing.
   */
  public double keptBeyondChance() {
    return keptBeyondChance(dense, pruned, chance);
  }

  static double keptBeyondChance(double dense, double pruned, double chance) {
    return dense > chance ? (pruned - chance) / (dense - chance) : Double.NaN;
  }
}
