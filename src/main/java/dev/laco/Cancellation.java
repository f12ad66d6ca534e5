package dev.laco;

/**
 * A wish that a job ends early. A job looks at it before every layer that it runs, and ends with a
 * {@link CancelledException}; its best plan so far has been told to its listener by then.
 */
public final class Cancellation {
  private volatile boolean wished;

  /** Nobody has cancelled yet. */
  public Cancellation() {}

  /** From now on the job ends as soon as it can; from any thread. */
  public void cancel() {
    wished = true;
  }

  /** Whether the job is to end. */
  public boolean isCancelled() {
    return wished;
  }

  /**
   * Ends the work of the caller if that is wished.
   *
   * @throws CancelledException if it is
   */
  public void check() {
    if (wished) {
      throw new CancelledException();
    }
  }
}
