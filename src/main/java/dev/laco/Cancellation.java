package dev.laco;

/**
 * A request that a job ends early, made by any thread. The job looks at its cancellation before
 * every layer that it runs, and ends with a {@link CancelledException}. By then the job has told
 * its listener of the best plan that it found. The interruption of the job's thread ends the job
 * likewise.
 */
public final class Cancellation {
  private volatile boolean wished;

  /** A cancellation that was not used yet. */
  public Cancellation() {}

  /** Asks the job to end as soon as it can. Any thread may call this, and more than once. */
  public void cancel() {
    wished = true;
  }

  /** Whether {@link #cancel} was called. */
  public boolean isCancelled() {
    return wished;
  }

  /**
   * Ends the work of the caller if {@link #cancel} was called, or the calling thread is
   * interrupted. The thread stays interrupted.
   *
   * @throws CancelledException if either is so
   */
  public void check() {
    if (wished || Thread.currentThread().isInterrupted()) {
      throw new CancelledException();
    }
  }
}
