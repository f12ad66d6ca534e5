package dev.laco;

/** Wall-clock time. */
public final class Seconds {
  private Seconds() {}

  /** Seconds since {@code start}, a {@link System#nanoTime}. */
  public static double since(long start) {
    return (System.nanoTime() - start) / 1e9;
  }
}
