package dev.laco.backend;

/**
 * Solves linear systems in f64 by Cholesky factorisation: on the device if it has a library for
 * that, else on the host.
 */
public interface LinearSolver {
  /** The library and where it runs, in words: {@code OpenBLAS on the host}. */
  String name();

  /** Bytes that {@link #system} allocates, on the host and on the device together. */
  long bytes(long n, long rightHandSides);

  /**
   * Allocates memory in which one system after the other is solved.
   *
   * @param n the most unknowns of a system
   * @param rightHandSides the most right-hand sides of a system
   * @throws dev.laco.ResourceException if there is too little memory, or the library does not take
   *     systems of this size
   */
  LinearSystem system(long n, long rightHandSides);
}
