package dev.laco.bench;

import java.util.List;

/**
 * What the repetitions of a case took, in seconds.
 *
 * @param best the least
 * @param p10 a tenth of the repetitions took less
 * @param p90 a tenth took more
 * @param n number of repetitions
 * @param samples each repetition in the order of measurement; empty where only the others are known
 */
public record Times(
    double best, double p10, double median, double p90, long n, List<Double> samples) {
  public Times {
    samples = List.copyOf(samples);
  }

  /** Of repetitions in the order of measurement, at least one. */
  public static Times of(List<Double> samples) {
    List<Double> sorted = samples.stream().sorted().toList();
    return new Times(
        sorted.getFirst(),
        quantile(sorted, 0.1),
        quantile(sorted, 0.5),
        quantile(sorted, 0.9),
        samples.size(),
        samples);
  }

  /** The middle of some times. */
  public static double median(List<Double> samples) {
    return of(samples).median();
  }

  private static double quantile(List<Double> sorted, double share) {
    return sorted.get((int) (share * sorted.size()));
  }
}
