package dev.laco.text;

import java.util.HashSet;
import java.util.List;
import java.util.Set;

/** Measures how much of one text stands in another: runs of 32 equal tokens, wherever they are. */
public final class TextOverlap {
  /** Tokens of a run; so many equal tokens in a row are no coincidence. */
  private static final int RUN = 32;

  private static final long FACTOR = 0x9E3779B97F4A7C15L;

  private final Set<Long> runs = new HashSet<>();

  private TextOverlap() {}

  /**
   * The share of the tokens of {@code text} that lie in runs of 32 tokens that are also in {@code
   * seen}, 0 to 1.
   */
  public static double share(List<int[]> seen, List<int[]> text) {
    TextOverlap overlap = new TextOverlap();
    seen.forEach(overlap::add);
    long common = text.stream().mapToLong(overlap::common).sum();
    long tokens = text.stream().mapToLong(ids -> ids.length).sum();
    return tokens == 0 ? 0 : (double) common / tokens;
  }

  /**
   * Adds the runs of a token list that lie side by side when counted from its end, and the first
   * run: the first token may be BOS.
   */
  private void add(int[] ids) {
    for (int start = ids.length - RUN; start >= 0; start -= RUN) {
      runs.add(hash(ids, start));
    }
    for (int start = 0; start < 2 && start + RUN <= ids.length; start++) {
      runs.add(hash(ids, start));
    }
  }

  private long common(int[] ids) {
    if (ids.length < RUN) {
      return 0;
    }
    long highest = 1;
    for (int i = 1; i < RUN; i++) {
      highest *= FACTOR;
    }
    long common = 0;
    int counted = 0;
    long hash = hash(ids, 0);
    for (int start = 0; ; start++) {
      if (runs.contains(hash)) {
        common += start + RUN - Math.max(start, counted);
        counted = start + RUN;
      }
      if (start + RUN == ids.length) {
        return common;
      }
      hash = (hash - highest * value(ids[start])) * FACTOR + value(ids[start + RUN]);
    }
  }

  /**
   * The hash of a run: a polynomial in its tokens, from which the hash of the run that begins one
   * token later follows.
   */
  private static long hash(int[] ids, int start) {
    long hash = 0;
    for (int i = start; i < start + RUN; i++) {
      hash = hash * FACTOR + value(ids[i]);
    }
    return hash;
  }

  private static long value(int id) {
    return id + 1L;
  }
}
