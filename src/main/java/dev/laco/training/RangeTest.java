package dev.laco.training;

import dev.laco.report.RateTrial;
import java.util.List;

/**
 * A search for the learning rate of a training: a few steps at each of some rising rates, one after
 * another, until the loss on a part of the held-out text is back at half of what it has fallen. A
 * short training has a short test.
 *
 * @param rates that are tried, relative to the usual one
 * @param tokens of the steps at each rate
 * @param steps at each rate
 * @param judged batches of the held-out text by which rates are judged
 * @param peak the largest rate of the training, relative to the best rate of the test
 */
public record RangeTest(List<Double> rates, long tokens, int steps, int judged, double peak) {
  /** Tokens of a training for which a test takes one token at each rate. */
  private static final int TOKENS_PER_TEST_TOKEN = 48;

  /** The most steps whose tokens a test takes at each rate. */
  private static final int MOST_STEPS = 4;

  /**
   * The fewest steps at each rate, which have fewer tokens where need be: the first step moves each
   * weight by the rate, so that one step alone does not show at which rate steps undo each other.
   */
  private static final int LEAST_STEPS = 2;

  /** The rates, relative to the usual one. */
  private static final List<Double> RATES = List.of(1.0 / 27, 1.0 / 9, 1.0 / 3, 1.0);

  /** The first of these rates in a short test. */
  private static final int FIRST_OF_SHORT = 1;

  /** Batches of the held-out text by which rates are judged; a short test has one. */
  private static final int JUDGED = 2;

  /** The peak of the rates of a training, relative to their mean. */
  private static final double PEAK = 2;

  /** The test in front of a training on so many tokens. */
  public static RangeTest of(long tokensInAll, DistillationSettings settings) {
    // A training of few steps is tested by those of the usual size.
    long step = Math.max(settings.stepTokens(), settings.stepTokens(tokensInAll));
    long tokens = tokensInAll / TOKENS_PER_TEST_TOKEN;
    return tokens < LEAST_STEPS * step
        ? new RangeTest(
            RATES.subList(FIRST_OF_SHORT, RATES.size()),
            Math.clamp(tokens, Math.max(LEAST_STEPS, step / 2), Math.max(LEAST_STEPS, step)),
            LEAST_STEPS,
            1,
            settings.hasFewSteps(tokensInAll) ? 1 : PEAK)
        : thorough((int) Math.min(MOST_STEPS, tokens / step), step);
  }

  private static RangeTest thorough(int steps, long stepTokens) {
    return new RangeTest(RATES, steps * stepTokens, steps, JUDGED, PEAK);
  }

  /** Tokens of all steps, at most. */
  public long trained() {
    return rates.size() * tokens;
  }

  /** Tokens on which the loss of a trained model is measured, at most. */
  public long measured() {
    return (long) rates.size() * judged * DistillationText.MEASURED_AT_ONCE;
  }

  /**
   * The peak of the rates of a training. It is {@link #peak} times the rate at which the loss would
   * be smallest by a parabola over the logarithms of the rate behind whose steps it was smallest
   * and of its neighbours: twice, since the mean of a training's rates is half of their peak, or
   * once before a training of few steps. Where the loss never fell, it is the lowest rate of all.
   * Where the largest rate is the best, but its steps made the loss fall less than those at the
   * rate before, it is the rate before.
   *
   * @param trials of a test; the first is of the model as it is
   */
  double suitable(List<RateTrial> trials) {
    int best = 0;
    for (int i = 1; i < trials.size(); i++) {
      best = trials.get(i).loss() < trials.get(best).loss() ? i : best;
    }
    if (best == 0) {
      return trials.get(1).rate();
    }
    if (best > 1 && best + 1 == trials.size() && fellLess(trials, best)) {
      // Steps at that rate undid a part of what they gained; a training would undo more.
      return trials.get(best - 1).rate();
    }
    double rate = trials.get(best).rate();
    double share = 0;
    if (best > 1 && best + 1 < trials.size()) {
      double left = trials.get(best - 1).loss() - trials.get(best).loss();
      double right = trials.get(best + 1).loss() - trials.get(best).loss();
      // The vertex of the parabola, in steps from one rate to the next.
      share = Double.isFinite(left + right) ? (left - right) / (2 * (left + right)) : 0;
    }
    return peak * rate * Math.pow(rate / trials.get(Math.max(1, best - 1)).rate(), share);
  }

  /** Whether the steps of a trial made the loss fall less than those of the trial before. */
  private static boolean fellLess(List<RateTrial> trials, int trial) {
    return 2 * trials.get(trial - 1).loss()
        < trials.get(trial - 2).loss() + trials.get(trial).loss();
  }
}
