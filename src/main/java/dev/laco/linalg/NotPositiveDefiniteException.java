package dev.laco.linalg;

import java.util.Locale;

/** A matrix has no Cholesky factor: it is singular in f64, indefinite, or not finite. */
public final class NotPositiveDefiniteException extends ArithmeticException {
  private static final long serialVersionUID = 1L;

  /**
   * @param order the order of the smallest leading minor that is not positive
   * @param n the order of the matrix
   */
  public NotPositiveDefiniteException(long order, long n) {
    super(
        String.format(
            Locale.ROOT,
            "the matrix is not positive definite: its leading minor of order %d of %d is not positive",
            order,
            n));
  }
}
