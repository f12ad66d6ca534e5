package dev.laco.backend;

/**
 * Shape of linear attention by the gated delta rule.
 *
 * @param keyHeads heads of queries, and of keys; divides {@code valueHeads}
 * @param valueHeads heads of values: value head {@code h} has the queries and keys of head {@code h
 *     / (valueHeads / keyHeads)}
 * @param key elements of a head's query, and of its key
 * @param value elements of a head's value
 */
public record DeltaSpec(int keyHeads, int valueHeads, int key, int value) {
  /** What is added to the sum of the squares of a query or key by whose root it is divided. */
  public static final double EPS = 1e-6;

  public DeltaSpec {
    if (keyHeads < 1 || valueHeads < 1 || key < 1 || value < 1 || valueHeads % keyHeads != 0) {
      throw new IllegalArgumentException(
          "delta rule of " + keyHeads + "/" + valueHeads + " heads of width " + key + "/" + value);
    }
  }

  /** Value heads that share a head of queries and keys. */
  public int group() {
    return valueHeads / keyHeads;
  }

  /** Elements of the queries of all heads of a token, and of the keys. */
  public long keys() {
    return (long) keyHeads * key;
  }

  /** Elements of the values of all heads of a token. */
  public long values() {
    return (long) valueHeads * value;
  }

  /** Elements of the queries, keys and values of a token. */
  public long all() {
    return 2 * keys() + values();
  }

  /** Elements of the states of all heads of a sequence. */
  public long states() {
    return values() * key;
  }
}
