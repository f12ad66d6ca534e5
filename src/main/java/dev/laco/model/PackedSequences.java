package dev.laco.model;

import java.util.Arrays;
import java.util.List;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/**
 * Token sequences laid end to end without padding.
 *
 * @param tokens all token ids, {@code [T]}
 * @param offsets {@code [S+1]}: sequence {@code s} is {@code tokens[offsets[s]..offsets[s+1])}
 * @param past {@code [S]}: number of earlier tokens of each sequence, whose keys and values are in
 *     a KV cache; the first token of sequence {@code s} has position {@code past[s]}
 * @param keyOffsets {@code [S+1]}: the keys of sequence {@code s}, those of earlier tokens
 *     included, are rows from {@code keyOffsets[s]} on; the last element is the number of rows that
 *     there are
 */
public record PackedSequences(int[] tokens, int[] offsets, int[] past, int[] keyOffsets) {
  public PackedSequences {
    if (offsets.length != past.length + 1 || offsets[0] != 0) {
      throw new IllegalArgumentException("offsets must start at 0 and number one more than past");
    }
    if (keyOffsets.length != offsets.length || keyOffsets[0] < 0) {
      throw new IllegalArgumentException("keyOffsets must be as many as offsets");
    }
    for (int s = 0; s < past.length; s++) {
      if (offsets[s + 1] <= offsets[s] || past[s] < 0) {
        throw new IllegalArgumentException("sequence " + s + " is empty or has a negative past");
      }
      if (past[s] + offsets[s + 1] - offsets[s] > keyOffsets[s + 1] - keyOffsets[s]) {
        throw new IllegalArgumentException("sequence " + s + " has no room for its keys");
      }
    }
    if (offsets[past.length] != tokens.length) {
      throw new IllegalArgumentException("offsets must end at the number of tokens");
    }
  }

  /** Sequences whose keys lie one behind the other, without gaps. */
  public PackedSequences(int[] tokens, int[] offsets, int[] past) {
    this(tokens, offsets, past, packedKeys(offsets, past));
  }

  private static int[] packedKeys(int[] offsets, int[] past) {
    int[] keys = new int[offsets.length];
    for (int s = 0; s + 1 < offsets.length && s < past.length; s++) {
      keys[s + 1] = keys[s] + past[s] + offsets[s + 1] - offsets[s];
    }
    return keys;
  }

  /** Packs whole sequences, none of them empty. */
  public static PackedSequences of(List<int[]> sequences) {
    int[] offsets = new int[sequences.size() + 1];
    for (int s = 0; s < sequences.size(); s++) {
      offsets[s + 1] = Math.addExact(offsets[s], sequences.get(s).length);
    }
    int[] tokens = new int[offsets[sequences.size()]];
    for (int s = 0; s < sequences.size(); s++) {
      int[] sequence = sequences.get(s);
      System.arraycopy(sequence, 0, tokens, offsets[s], sequence.length);
    }
    return new PackedSequences(tokens, offsets, new int[sequences.size()]);
  }

  /** All sequences {@code copies} times, one copy behind the other. */
  public PackedSequences repeated(int copies) {
    int count = sequences();
    int[] all = new int[Math.multiplyExact(size(), copies)];
    int[] starts = new int[copies * count + 1];
    int[] before = new int[copies * count];
    for (int copy = 0; copy < copies; copy++) {
      System.arraycopy(tokens, 0, all, copy * size(), size());
      System.arraycopy(past, 0, before, copy * count, count);
      for (int s = 0; s < count; s++) {
        starts[copy * count + s + 1] = copy * size() + offsets[s + 1];
      }
    }
    return new PackedSequences(all, starts, before);
  }

  /** Number of tokens, {@code T}. */
  public int size() {
    return tokens.length;
  }

  /** Number of sequences, {@code S}. */
  public int sequences() {
    return past.length;
  }

  /** Tokens of sequence {@code s} in this batch. */
  public int length(int s) {
    return offsets[s + 1] - offsets[s];
  }

  /** {@code [T]}: the id that follows each token in its sequence, -1 after the last. */
  public int[] targets() {
    int[] targets = new int[tokens.length];
    System.arraycopy(tokens, 1, targets, 0, tokens.length - 1);
    for (int s = 0; s < past.length; s++) {
      targets[offsets[s + 1] - 1] = -1;
    }
    return targets;
  }

  /** The row of the keys of the first token of sequence {@code s}; others follow. */
  public int firstKeyRow(int s) {
    return keyOffsets[s] + past[s];
  }

  /** {@code [T]}: the row of the keys of each token. */
  public int[] keyRows() {
    int[] rows = new int[tokens.length];
    for (int s = 0; s < past.length; s++) {
      for (int t = offsets[s]; t < offsets[s + 1]; t++) {
        rows[t] = firstKeyRow(s) + t - offsets[s];
      }
    }
    return rows;
  }

  /** The largest token id. */
  public int maxToken() {
    return Arrays.stream(tokens).max().orElse(-1);
  }

  /** Equal if all sequences have equal tokens, earlier tokens as many, and keys at equal places. */
  @Override
  public boolean equals(@Nullable Object other) {
    return other instanceof PackedSequences that
        && Arrays.equals(tokens, that.tokens)
        && Arrays.equals(offsets, that.offsets)
        && Arrays.equals(past, that.past)
        && Arrays.equals(keyOffsets, that.keyOffsets);
  }

  @Override
  public int hashCode() {
    return Objects.hash(Arrays.hashCode(tokens), Arrays.hashCode(offsets), Arrays.hashCode(past));
  }
}
