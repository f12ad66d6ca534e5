package dev.laco.text;

import java.util.Arrays;
import java.util.BitSet;
import java.util.List;

/** Measures how much of one text stands in another: runs of 13 equal tokens, wherever they are. */
public final class TextOverlap {
  /** Tokens of a run, as studies of contaminated evaluations have it (Brown et al. 2020). */
  private static final int RUN = 13;

  private static final long FACTOR = 0x9E3779B97F4A7C15L;

  private TextOverlap() {}

  /**
   * The share of the tokens of {@code text} that lie in runs of 13 tokens that are also in {@code
   * seen}, 0 to 1.
   */
  public static double share(List<int[]> seen, List<int[]> text) {
    long[] runs =
        text.stream().map(TextOverlap::hashes).flatMapToLong(Arrays::stream).sorted().toArray();
    BitSet known = new BitSet(runs.length);
    for (int[] ids : seen) {
      for (long hash : hashes(ids)) {
        int place = Arrays.binarySearch(runs, hash);
        if (place >= 0) {
          known.set(place);
        }
      }
    }
    long common = text.stream().mapToLong(ids -> common(ids, runs, known)).sum();
    long tokens = text.stream().mapToLong(ids -> ids.length).sum();
    return tokens == 0 ? 0 : (double) common / tokens;
  }

  /** Tokens in runs that are known. */
  private static long common(int[] ids, long[] runs, BitSet known) {
    long[] hashes = hashes(ids);
    long common = 0;
    int counted = 0;
    for (int start = 0; start < hashes.length; start++) {
      // A search finds the same place for the same hash.
      if (known.get(Arrays.binarySearch(runs, hashes[start]))) {
        common += start + RUN - Math.max(start, counted);
        counted = start + RUN;
      }
    }
    return common;
  }

  /**
   * The hash of the run at each place: a polynomial in its tokens, from which the hash of the run
   * that begins one token later follows.
   */
  private static long[] hashes(int[] ids) {
    long[] hashes = new long[Math.max(0, ids.length - RUN + 1)];
    long highest = 1;
    for (int i = 1; i < RUN; i++) {
      highest *= FACTOR;
    }
    long hash = 0;
    for (int i = 0; i < ids.length; i++) {
      if (i >= RUN) {
        hash -= highest * value(ids[i - RUN]);
      }
      hash = hash * FACTOR + value(ids[i]);
      if (i >= RUN - 1) {
        hashes[i - RUN + 1] = hash;
      }
    }
    return hashes;
  }

  private static long value(int id) {
    return id + 1L;
  }
}
