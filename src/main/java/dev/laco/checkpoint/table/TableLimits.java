package dev.laco.checkpoint.table;

import java.util.Locale;

/** What a table of tensors may hold at most, so that no file fills the Java heap. */
public final class TableLimits {
  /**
   * Most tensors of a checkpoint, and therefore of a file; the largest published mixtures of
   * experts have about 140,000.
   */
  public static final int MAX_TENSORS = 200_000;

  /** Most characters of a tensor's name; published ones have up to about a hundred. */
  public static final int MAX_NAME = 128;

  /** Most dimensions of a tensor; weights of models have up to five. */
  public static final int MAX_RANK = 8;

  private TableLimits() {}

  /** Says that a tensor's name is longer than {@link #MAX_NAME}, for a message. */
  public static String longName(String name) {
    return String.format(
        Locale.ROOT, "its name has %d characters, at most %d are read", name.length(), MAX_NAME);
  }
}
