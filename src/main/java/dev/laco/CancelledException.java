package dev.laco;

/** A job was cancelled; it leaves nothing behind. */
public final class CancelledException extends LacoException {
  private static final long serialVersionUID = 1L;

  /** The exit code of a process that a person interrupts. */
  private static final int INTERRUPTED = 130;

  /** By a {@link Cancellation}. */
  public CancelledException() {
    super(INTERRUPTED, "cancelled");
  }
}
