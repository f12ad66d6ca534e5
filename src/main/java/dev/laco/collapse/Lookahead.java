package dev.laco.collapse;

import dev.laco.Setting;
import dev.laco.UsageException;

/**
 * How many candidates the loop asks for at once: the next one, and those that it would try if it
 * rejected each. An accept makes the rest worthless, so that asking ahead pays where a pass costs
 * much beside what it does for a candidate.
 *
 * @param most candidates that are asked for at once
 * @param always whether so many are always asked for, and not only as many as pay
 */
public record Lookahead(int most, boolean always) {
  /** Asks for one at a time: nothing is scored in vain. */
  public static final Lookahead NONE = fixed(1);

  /** Asks for everything that the loop could still try. */
  public static final Lookahead ALL = fixed(Integer.MAX_VALUE);

  public Lookahead {
    if (most < 1) {
      throw new IllegalArgumentException(most + " candidates");
    }
  }

  /** Asks for so many. */
  public static Lookahead fixed(int candidates) {
    return new Lookahead(candidates, true);
  }

  /** Asks for as many as pay, up to {@code most}. */
  public static Lookahead upTo(int most) {
    return new Lookahead(most, false);
  }

  /**
   * Reads the value of {@code --lookahead}.
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
    throw new UsageException(
        Setting.of("lookahead") + " " + text + ": expected a number from 1 on, or all");
  }

  /** At most so many of {@code available} candidates are asked for where a pass costs so much. */
  public int most(double passCost, int available) {
    return always || passCost > 0 ? Math.min(most, available) : 1;
  }

  /**
   * How many to ask for: as many as give the most trials that count for what they cost. Of K
   * candidates of which each is accepted with chance a, {@code (1 - (1 - a)^K) / a} count, and they
   * cost {@code passCost + K}.
   *
   * @param passCost see {@link Scorer#passCost}
   * @param decided trials so far
   * @param accepted how many of them were accepted
   */
  int next(double passCost, int decided, int accepted) {
    if (always) {
      return most;
    }
    // As if one in three had been accepted before.
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
