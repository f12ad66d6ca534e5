package dev.laco.text;

import dev.laco.Setting;
import dev.laco.UsageException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;

/** Makes the chunks of text on which a model is measured. */
public final class TextChunks {
  private TextChunks() {}

  /**
   * Token ids that a model runs as one sequence. The model's predictions of the ids from {@link
   * #firstScored} on are scored.
   */
  public static final class Chunk {
    private final int[] ids;
    private final int firstScored;

    private Chunk(int[] ids, int firstScored) {
      this.ids = ids;
      this.firstScored = firstScored;
    }

    /** The ids to run, with those that the tokenizer puts before a text, such as BOS. */
    public int[] ids() {
      return ids.clone();
    }

    /** Number of ids. */
    public int length() {
      return ids.length;
    }

    /** Index of the first scored token, at least 1: a token is predicted by those before it. */
    public int firstScored() {
      return firstScored;
    }
  }

  /** Makes each token list a chunk, of which all tokens but the first are scored. */
  public static List<Chunk> whole(List<int[]> lists) {
    return lists.stream().map(ids -> new Chunk(ids.clone(), 1)).toList();
  }

  /** A chunk of which the tokens from {@code firstScored} on are scored. */
  public static Chunk continuation(int[] ids, int firstScored) {
    if (firstScored < 1 || firstScored >= ids.length) {
      throw new IllegalArgumentException(
          String.format(Locale.ROOT, "firstScored is %d of %d tokens", firstScored, ids.length));
    }
    return new Chunk(ids.clone(), firstScored);
  }

  /**
   * Cuts {@code tokens} into windows of {@code length} tokens that begin every {@code stride}
   * tokens, as published perplexities have it: no token is put in front of a window, a token is
   * scored in the first window in which another stands before it, and the tokens behind the last
   * window that is full are left out. Tokens fewer than a window are one window.
   *
   * @param length at least 2
   * @param stride 1 to {@code length}
   */
  public static List<Chunk> windows(int[] tokens, int length, int stride) {
    List<Chunk> windows = new ArrayList<>();
    int most = Math.min(length, tokens.length);
    for (int start = 0; start + most <= tokens.length && most > 1; start += stride) {
      int[] ids = Arrays.copyOfRange(tokens, start, start + most);
      windows.add(new Chunk(ids, start == 0 ? 1 : Math.max(1, length - stride)));
    }
    return windows;
  }

  /**
   * Cuts {@code tokens} into chunks of {@code maxLength} tokens that start every {@code stride}
   * tokens, with {@code prefix} in front of each. Every token is scored once, in the first chunk
   * that has it; in later chunks it is context. Without a prefix nothing predicts the first token
   * of a chunk that does not overlap the chunk before it, and that token is not scored.
   *
   * @param tokens the text's tokens, without special tokens
   * @param prefix the tokens that the tokenizer puts before a text
   * @throws UsageException unless {@code 1 <= stride <= maxLength} and a chunk has room for two
   *     tokens, those of the prefix included
   */
  public static List<Chunk> cut(int[] tokens, int[] prefix, int maxLength, int stride) {
    int front = prefix.length;
    int least = Math.max(1, 2 - front);
    if (maxLength < least) {
      throw new UsageException(
          String.format(
              Locale.ROOT,
              "%s is %d, it must be at least %d",
              Setting.of("maxLength"),
              maxLength,
              least));
    }
    if (stride < 1 || stride > maxLength) {
      throw new UsageException(
          String.format(
              Locale.ROOT,
              "%s is %d, it must be from 1 to %s, %d",
              Setting.of("stride"),
              stride,
              Setting.of("maxLength"),
              maxLength));
    }
    List<Chunk> chunks = new ArrayList<>();
    int seen = 0;
    for (int start = 0; seen < tokens.length; start += stride) {
      int end = (int) Math.min((long) start + maxLength, tokens.length);
      int[] ids = Arrays.copyOf(prefix, front + end - start);
      System.arraycopy(tokens, start, ids, front, end - start);
      int firstScored = Math.max(1, front + seen - start);
      if (firstScored < ids.length) {
        chunks.add(new Chunk(ids, firstScored));
      }
      seen = end;
    }
    return chunks;
  }
}
