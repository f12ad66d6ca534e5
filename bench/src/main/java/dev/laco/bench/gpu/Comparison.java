package dev.laco.bench.gpu;

import com.fasterxml.jackson.annotation.JsonValue;
import dev.laco.evaluate.Interval;
import java.util.List;
import java.util.Locale;
import java.util.stream.IntStream;

/**
 * What a kernel takes beside another one that was measured in turns with it. Neighbouring times are
 * a pair, so that a clock that drifts changes both; the interval of the median holds for times of
 * any distribution.
 *
 * @param with the other kernel
 * @param ratio the median of the pairs' ratios: below 1 where this kernel is faster
 * @param interval of the ratio, 95 %
 */
record Comparison(String with, double ratio, Interval interval, int pairs, Verdict verdict) {
  /** With fewer pairs the interval holds less often. */
  static final int FEWEST = 6;

  /** What the interval says. */
  enum Verdict {
    FASTER("faster"),
    SLOWER("slower"),
    NO_DIFFERENCE("no difference seen"),
    TOO_FEW("too few times to tell");

    private final String words;

    Verdict(String words) {
      this.words = words;
    }

    @JsonValue
    @Override
    public String toString() {
      return words;
    }
  }

  /**
   * Compares times, of which those at the same place are a pair.
   *
   * @param with the name of the other kernel
   */
  static Comparison of(List<Double> seconds, String with, List<Double> others) {
    double[] ratios =
        IntStream.range(0, seconds.size())
            .mapToDouble(i -> seconds.get(i) / others.get(i))
            .sorted()
            .toArray();
    int middle = ratios.length / 2;
    double median =
        ratios.length % 2 == 1 ? ratios[middle] : (ratios[middle - 1] + ratios[middle]) / 2;
    Interval interval = Interval.ofMedian(ratios);
    return new Comparison(with, median, interval, ratios.length, verdict(interval, ratios.length));
  }

  private static Verdict verdict(Interval interval, int pairs) {
    if (pairs < FEWEST) {
      return Verdict.TOO_FEW;
    }
    if (interval.high() < 1) {
      return Verdict.FASTER;
    }
    return interval.low() > 1 ? Verdict.SLOWER : Verdict.NO_DIFFERENCE;
  }

  /** {@code faster: 0.912 (0.905 to 0.921) of laco_rms_norm_bf16_v1}. */
  @Override
  public String toString() {
    return String.format(
        Locale.ROOT,
        "%s: %.3f (%.3f to %.3f) of %s",
        verdict,
        ratio,
        interval.low(),
        interval.high(),
        with);
  }
}
