package dev.laco.transformer;

/**
 * Which rows of a fused output are those of each of its parts, where the rows of one group stand
 * together: those of the group's first part, those of its second part, and so on.
 */
final class FusedRows {
  private FusedRows() {}

  /**
   * The rows of each part, ascending.
   *
   * @param counts rows of each part in a group
   */
  static int[][] of(int groups, int... counts) {
    int all = 0;
    for (int count : counts) {
      all += count;
    }
    int[][] parts = new int[counts.length][];
    int first = 0;
    for (int p = 0; p < counts.length; p++) {
      parts[p] = rows(groups, all, first, counts[p]);
      first += counts[p];
    }
    return parts;
  }

  /** Of each group of {@code all} rows those from {@code first} on, {@code count} of them. */
  private static int[] rows(int groups, int all, int first, int count) {
    int[] rows = new int[Math.multiplyExact(groups, count)];
    for (int i = 0; i < rows.length; i++) {
      rows[i] = Math.toIntExact((long) (i / count) * all + first + i % count);
    }
    return rows;
  }

  /** For each row of the fused output, its place where the parts stand one behind the other. */
  static int[] inverse(int[]... parts) {
    int count = 0;
    for (int[] part : parts) {
      count += part.length;
    }
    int[] places = new int[count];
    int place = 0;
    for (int[] part : parts) {
      for (int row : part) {
        places[row] = place++;
      }
    }
    return places;
  }
}
