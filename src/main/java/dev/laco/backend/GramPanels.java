package dev.laco.backend;

/** How the backends cut the product of {@link SolvingOps#addGram} into panels of columns. */
public final class GramPanels {
  private GramPanels() {}

  /**
   * Columns of a panel of {@code [n, n]}: few enough that a sixteenth of the products are above the
   * diagonal, and enough for products that keep a device busy.
   */
  public static long columns(long n) {
    return Math.min(n, Math.max(256, Math.ceilDiv(n, 512) * 64));
  }
}
