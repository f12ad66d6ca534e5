package dev.laco.backend;

/** Solves linear systems in f64 by Cholesky, on a backend's device where its libraries can. */
public interface LinearSolver {
  /** What solves, and where, for people. */
  String name();

  /** Bytes that {@link #system} takes, wherever they lie. */
  long bytes(long n, long rightHandSides);

  /**
   * Room for one system at a time, of at most {@code n} unknowns and so many right-hand sides.
   *
   * @throws dev.laco.ResourceException if the memory is not there, or the system is larger than the
   *     library can take
   */
  LinearSystem system(long n, long rightHandSides);
}
