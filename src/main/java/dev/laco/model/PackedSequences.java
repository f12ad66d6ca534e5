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
 */
public record PackedSequences(int[] tokens, int[] offsets, int[] past) {
  public PackedSequences {
    if (offsets.length != past.length + 1 || offsets[0] != 0) {
      throw new IllegalArgumentException("offsets must start at 0 and number one more than past");
    }
    for (int s = 0; s < past.length; s++) {
      if (offsets[s + 1] <= offsets[s] || past[s] < 0) {
        throw new IllegalArgumentException("sequence " + s + " is empty or has a negative past");
      }
    }
    if (offsets[past.length] != tokens.length) {
      throw new IllegalArgumentException("offsets must end at the number of tokens");
    }
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

  /**
   * The next tokens of one sequence, of which the keys and values of {@code past} tokens are in a
   * KV cache.
   */
  public static PackedSequences continuation(int[] tokens, int past) {
    return new PackedSequences(tokens, new int[] {0, tokens.length}, new int[] {past});
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

  /**
   * {@code [S+1]}: the keys of sequence {@code s}, those of earlier tokens included, are rows
   * {@code keyOffsets[s]} up to, and not including, {@code keyOffsets[s+1]}.
   */
  public int[] keyOffsets() {
    int[] keys = new int[offsets.length];
    for (int s = 0; s < past.length; s++) {
      keys[s + 1] = keys[s] + past[s] + length(s);
    }
    return keys;
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

  /** The largest token id. */
  public int maxToken() {
    return Arrays.stream(tokens).max().orElse(-1);
  }

  /** Equal if all sequences have equal tokens and equal numbers of earlier tokens. */
  @Override
  public boolean equals(@Nullable Object other) {
    return other instanceof PackedSequences that
        && Arrays.equals(tokens, that.tokens)
        && Arrays.equals(offsets, that.offsets)
        && Arrays.equals(past, that.past);
  }

  @Override
  public int hashCode() {
    return Objects.hash(Arrays.hashCode(tokens), Arrays.hashCode(offsets), Arrays.hashCode(past));
  }
}
