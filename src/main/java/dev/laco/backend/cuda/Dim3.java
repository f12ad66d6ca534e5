package dev.laco.backend.cuda;

/** Extents of a grid in blocks, of a block in threads, or of a cluster in blocks. */
public record Dim3(int x, int y, int z) {
  /** One of something. */
  public static final Dim3 ONE = new Dim3(1, 1, 1);

  /** How many there are. */
  public long count() {
    return (long) x * y * z;
  }

  /** {@code 32 x 8 x 1}. */
  @Override
  public String toString() {
    return x + " x " + y + " x " + z;
  }
}
