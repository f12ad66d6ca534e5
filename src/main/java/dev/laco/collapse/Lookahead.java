package dev.laco.collapse;

import dev.laco.UsageException;

/**
 * How many candidates the loop asks for at once: the next one, and those that it would try if it
 * rejected each. An accept makes the rest worthless, so that asking ahead pays where a pass costs
 * much beside what it does for a candidate.
 *
 * @param most candidates in one pass
 * @param passCost what a pass costs beside its candidates, in what it costs to run one of them;
 *     infinite where as many as possible are to be asked for
 */
public record Lookahead(int most, double passCost) {
  /** Asks for one at a time: nothing is scored in vain. */
  public static final Lookahead NONE = fixed(1);

  /** Asks for everything that the loop could still try. */
  public static final Lookahead ALL = fixed(Integer.MAX_VALUE);

  public Lookahead {
    if (most < 1 || !(passCost >= 0)) {
      throw new IllegalArgumentException(most + " candidates, a pass of " + passCost);
    }
  }

  /** Asks for so many. */
  public static Lookahead fixed(int candidates) {
    return new Lookahead(candidates, Double.POSITIVE_INFINITY);
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
    throw new UsageException("--lookahead " + text + ": expected a number from 1 on, or all");
  }

  /**
   * How many to ask for: as many as give the most trials that count for what they cost. Of K
   * candidates of which each is accepted with chance a, {@code (1 - (1 - a)^K) / a} count, and they
   * cost {@code passCost + K}.
   *
   * @param decided trials so far
   * @param accepted how many of them were accepted
   */
  int next(int decided, int accepted) {
    if (Double.isInfinite(passCost)) {
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
