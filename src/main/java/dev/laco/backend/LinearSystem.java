package dev.laco.backend;

import org.jspecify.annotations.Nullable;

/**
 * Memory for one symmetric positive definite linear system at a time, and the computations in it.
 * Arguments are f32 tensors of the backend that the system belongs to. Everything is computed in
 * f64, and the result is rounded to f32 once.
 */
public interface LinearSystem extends AutoCloseable {
  /**
   * The matrix {@code all - less}, subtracted in f64: sums over some rows of a text are the sums
   * over all rows, less those over the others.
   *
   * @param less null for zeros
   */
  record Difference(Tensor all, @Nullable Tensor less) {}

  /**
   * Ridge regression: {@code out^T = (G + diag(r))^-1 C^T} with {@code r_i = lambda (G_ii + floor
   * tr(G) / n)}.
   *
   * @param gram {@code G [n, n]}, symmetric; what is above the diagonal is not used
   * @param cross {@code C [outputs, n]}
   * @param out {@code [outputs, n]}
   * @throws dev.laco.linalg.NotPositiveDefiniteException if {@code G + diag(r)} is not positive
   *     definite in f64; the content of {@code out} is then undefined
   */
  void ridge(Difference gram, Difference cross, double lambda, double floor, Tensor out);

  /**
   * Whitening: an {@code R} with {@code R R^T = (G / count + floor m I)^-1}, where {@code m} is the
   * mean of the diagonal of {@code G / count}. If {@code x} are {@code count} rows with {@code x^T
   * x = G} and {@code floor} is 0, then the rows {@code x R} have the identity as their second
   * moments.
   *
   * @param gram {@code G [n, n]}, symmetric; what is above the diagonal is not used
   * @param out {@code R [n, n]}, zeros below the diagonal
   * @throws dev.laco.linalg.NotPositiveDefiniteException if the matrix to be inverted is not
   *     positive definite in f64
   */
  void whitening(Tensor gram, long count, double floor, Tensor out);

  @Override
  void close();
}
