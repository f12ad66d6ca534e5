package dev.laco;

/** A job was cancelled; it leaves nothing behind. */
public final class CancelledException extends LacoException {
  private static final long serialVersionUID = 1L;

  /** By a {@link Cancellation}. */
  public CancelledException() {
    super("cancelled", null, null);
  }
}
