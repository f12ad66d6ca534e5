package dev.laco.backend;

import org.jspecify.annotations.Nullable;

/**
 * Room for one symmetric positive definite linear system in f64, and what is done with it. Tensors
 * are the backend's, f32; what is made of them on the way is rounded to f32 once, at the end.
 */
public interface LinearSystem extends AutoCloseable {
  /**
   * A matrix as the difference of two.
   *
   * @param less null for zeros
   */
  record Difference(Tensor all, @Nullable Tensor less) {}

  /**
   * Ridge regression: {@code out^T = (G + diag(r))^-1 C^T} with {@code r_i = lambda (G_ii + floor
   * tr(G) / n)}.
   *
   * @param gram {@code G [n, n]}, symmetric
   * @param cross {@code C [outputs, n]}
   * @param out {@code [outputs, n]}
   * @throws dev.laco.linalg.NotPositiveDefiniteException if {@code G + diag(r)} is not positive
   *     definite to f64; {@code out} holds nothing of use then
   */
  void ridge(Difference gram, Difference cross, double lambda, double floor, Tensor out);

  /**
   * {@code R} with {@code R R^T = (G / count + floor m I)^-1}, m the mean of the diagonal of {@code
   * G / count}: behind it, {@code count} rows whose second moments are {@code G} have those of the
   * identity.
   *
   * @param gram {@code G [n, n]}, symmetric
   * @param out {@code R [n, n]}, zeros below the diagonal
   * @throws dev.laco.linalg.NotPositiveDefiniteException as {@link #ridge} does
   */
  void whitening(Tensor gram, long count, double floor, Tensor out);

  @Override
  void close();
}
