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
    int[][] parts = FusedRows.of(groups, queriesOfGroup, 1, 1);
    queries = parts[0];
    keys = parts[1];
    values = parts[2];
  }

  /**
   * For each head of the fused output, its place where all queries stand first, then all keys, then
   * all values.
   */
  int[] inverse() {
    return FusedRows.inverse(queries, keys, values);
  }
}
