package dev.laco.collapse;

import dev.laco.Setting;
import dev.laco.UsageException;

/**
 * How many candidates the paper's loop scores in one pass: the next one, and those that it would
 * try if it rejected each. The scores after an accepted candidate are wasted, so scoring ahead pays
 * if the fixed cost of a pass is high.
 *
 * @param most candidates that are asked for at once
 * @param always whether so many are always asked for, and not only as many as pay
 */
public record Lookahead(int most, boolean always) {
  /** Scores one candidate at a time, so that no score is wasted. */
  public static final Lookahead NONE = fixed(1);

  /** Scores all candidates that the loop could still try. */
  public static final Lookahead ALL = fixed(Integer.MAX_VALUE);

  /**
   * A lookahead of both values.
   *
   * @throws IllegalArgumentException if {@code most} is below 1
   */
  public Lookahead {
    if (most < 1) {
      throw new IllegalArgumentException(most + " candidates");
    }
  }

  /** Always scores {@code candidates} candidates. */
  public static Lookahead fixed(int candidates) {
    return new Lookahead(candidates, true);
  }

  /** Scores as many candidates as pay, up to {@code most}. */
  public static Lookahead upTo(int most) {
    return new Lookahead(most, false);
  }

  /**
   * Reads the value of the setting {@code lookahead}.
   *
   * @throws UsageException if it is neither {@code all} nor a number from 1 on
   */
  public static Lookahead parse(String text) {
    if (text.equals("all")) {
      return ALL;
    }
    if (text.matches("[1-9][0-9]{0,8}")) {
      return fixed(Integer.parseInt(text));
    }
    throw Setting.of("lookahead").refuse(text, "a number from 1 on, or all");
  }

  /** The most of {@code available} candidates that are scored at once at a given cost of a pass. */
  public int most(double passCost, int available) {
    return always || passCost > 0 ? Math.min(most, available) : 1;
  }

  /**
   * The number K of candidates to score that gives the most useful scores for their cost. If each
   * is accepted with probability a, {@code (1 - (1 - a)^K) / a} scores are useful, at the cost
   * {@code passCost + K}; a is estimated from the trials so far.
   *
   * @param passCost see {@link Scorer#passCost}
   * @param decided trials so far
   * @param accepted how many of them were accepted
   */
  int next(double passCost, int decided, int accepted) {
    if (always) {
      return most;
    }
    // The estimate starts as if one of three trials had been accepted.
    double reject = 1 - (accepted + 1.0) / (decided + 3.0);
    int count = 1;
    double useful = 1;
    double chance = reject;
    while (count < most
        && (useful + chance) / (passCost + count + 1) > useful / (passCost + count)) {
      useful += chance;
      chance *= reject;
      count++;
    }
    return count;
  }
}
