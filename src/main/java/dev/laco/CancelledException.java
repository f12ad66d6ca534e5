package dev.laco;

import java.io.IOException;
import java.nio.channels.ClosedByInterruptException;

/**
 * A job was cancelled, by its {@link Cancellation} or by the interruption of its thread. It leaves
 * no files behind.
 */
public final class CancelledException extends LacoException {
  private static final long serialVersionUID = 1L;

  /** The error of a job whose {@link Cancellation} was used. */
  public CancelledException() {
    super("cancelled", null, null);
  }

  /**
   * Ends a job that could not read or write a file since its thread was interrupted. Does nothing
   * where the file failed for another reason.
   */
  public static void throwIfInterrupted(IOException e) {
    if (e instanceof ClosedByInterruptException) {
      throw new CancelledException();
    }
  }
}
