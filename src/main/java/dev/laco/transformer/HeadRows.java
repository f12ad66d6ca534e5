package dev.laco.transformer;

import dev.laco.model.ModelConfig;

/**
 * Which heads of a fused output {@code [T, heads]} are queries, keys and values, where the heads of
 * one key/value head stand together: its queries, its key, its value. Heads are counted through all
 * tokens.
 */
final class HeadRows {
  final int[] queries;
  final int[] keys;
  final int[] values;

  HeadRows(ModelConfig config, long tokens) {
    int groups = Math.toIntExact(tokens * config.numKeyValueHeads());
    int queriesOfGroup = config.numAttentionHeads() / config.numKeyValueHeads();
    int heads = queriesOfGroup + 2;
    queries = rows(groups, heads, 0, queriesOfGroup);
    keys = rows(groups, heads, queriesOfGroup, 1);
    values = rows(groups, heads, queriesOfGroup + 1, 1);
  }

  /** Of each group of {@code heads} heads those from {@code first} on, {@code count} of them. */
  private static int[] rows(int groups, int heads, int first, int count) {
    int[] rows = new int[Math.multiplyExact(groups, count)];
    for (int i = 0; i < rows.length; i++) {
      rows[i] = Math.toIntExact((long) (i / count) * heads + first + i % count);
    }
    return rows;
  }

  /**
   * For each head of the fused output, its place where all queries stand first, then all keys, then
   * all values.
   */
  int[] inverse() {
    int[] places = new int[queries.length + keys.length + values.length];
    int place = 0;
    for (int[] part : new int[][] {queries, keys, values}) {
      for (int row : part) {
        places[row] = place++;
      }
    }
    return places;
  }
}
