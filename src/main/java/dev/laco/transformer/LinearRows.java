package dev.laco.transformer;

import dev.laco.model.LinearAttention;
import dev.laco.model.ModelConfig;
import java.math.BigInteger;
import java.util.Arrays;

/**
 * Where the results of two projections in front of linear attention stand, of models whose {@link
 * ModelConfig#linearHeadsByKey}: runs of elements are taken as rows, and counted through all
 * tokens.
 */
final class LinearRows {
  /** Elements of a row of heads and gates; rates and decays have rows of one element. */
  final int width;

  /** Queries, keys and values of each token. */
  final int[] heads;

  final int[] gates;
  final int[] rates;
  final int[] decays;

  LinearRows(LinearAttention sizes, long tokens) {
    width = BigInteger.valueOf(sizes.key()).gcd(BigInteger.valueOf(sizes.value())).intValue();
    int groups = sizes.keyHeads();
    int keys = sizes.key() / width;
    int values = sizes.valueHeadsOfKey() * sizes.value() / width;
    int[][] parts = FusedRows.of(groups, keys, keys, values, values);
    heads = ofAllTokens(tokens, 2 * groups * (keys + values), parts[0], parts[1], parts[2]);
    int all = Math.toIntExact(tokens * groups);
    gates = FusedRows.of(all, 2 * keys + values, values)[1];
    int[][] numbers = FusedRows.of(all, sizes.valueHeadsOfKey(), sizes.valueHeadsOfKey());
    rates = numbers[0];
    decays = numbers[1];
  }

  /**
   * The rows of some parts of each token, one part behind the other.
   *
   * @param stride rows of a token
   */
  private static int[] ofAllTokens(long tokens, int stride, int[]... parts) {
    int[] ofToken = Arrays.stream(parts).flatMapToInt(Arrays::stream).toArray();
    int[] rows = new int[Math.toIntExact(tokens * ofToken.length)];
    for (int i = 0; i < rows.length; i++) {
      rows[i] = Math.toIntExact((long) (i / ofToken.length) * stride + ofToken[i % ofToken.length]);
    }
    return rows;
  }

  /** For each row of heads and gates, its place where all heads stand first, then all gates. */
  int[] inverseOfHeads() {
    return FusedRows.inverse(heads, gates);
  }

  /** For each rate and decay, its place where all rates stand first, then all decays. */
  int[] inverseOfRates() {
    return FusedRows.inverse(rates, decays);
  }
}
