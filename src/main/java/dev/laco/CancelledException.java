package dev.laco;

/** A job was cancelled. It leaves no files behind. */
public final class CancelledException extends LacoException {
  private static final long serialVersionUID = 1L;

  /** The error of a job whose {@link Cancellation} was used. */
  public CancelledException() {
    super("cancelled", null, null);
  }
}
