package dev.laco.backend;

import org.jspecify.annotations.Nullable;

/**
 * The ops of a fit: sums over tokens that make a linear system, what solves the system, and the
 * arithmetic on rows and elements in between.
 */
public interface SolvingOps extends DeviceMemory {
  /**
   * {@code out += a^T b}. In {@link dev.laco.Compute#AUTO}, where the device is fast at it, {@code
   * a} and {@code b} are rounded to bf16; sums are f32.
   *
   * @param a {@code [R, m]}, f32 or of the {@link #productType} of bf16
   * @param b {@code [R, n]} likewise; may be {@code a}
   * @param out {@code [m, n]}
   */
  void crossProduct(Tensor a, Tensor b, Tensor out);

  /**
   * {@code out += a^T a} up to the diagonal, for sums of which a {@link LinearSystem} is made: the
   * elements {@code out_ij} with {@code j <= i}. Elements above the diagonal are undefined
   * afterwards. Factors are rounded as in {@link #crossProduct}.
   *
   * @param a {@code [R, n]}, f32 or of the {@link #productType} of bf16
   * @param out {@code [n, n]}
   */
  void addGram(Tensor a, Tensor out);

  /**
   * What the quadratic forms of rows need: {@code x_r . out_r = x_r G x_r^T} for each row {@code
   * r}. A device may multiply by half of {@code G} only, so that {@code out} need not be {@code x
   * G}. Products are those of f32.
   *
   * @param x {@code [R, n]}
   * @param symmetric {@code G [n, n]}, all of it
   * @param out {@code [R, n]}, other memory
   */
  void quadraticForms(Tensor x, Tensor symmetric, Tensor out);

  /**
   * {@code out = R R^T} for a triangular matrix, all of it. Products are those of f32.
   *
   * @param triangle {@code R [n, n]}, zeros below the diagonal
   * @param out {@code [n, n]}, other memory
   */
  void squareOfTriangle(Tensor triangle, Tensor out);

  /**
   * Sums of squares of the columns: {@code out_c += sum_r x_rc^2}.
   *
   * @param x {@code [R, n]}
   * @param out {@code [1, n]}
   */
  void addSquares(Tensor x, Tensor out);

  /**
   * The reciprocal root mean square of each row: {@code out = 1 / sqrt(max(mean(x^2), floor))}.
   *
   * @param x {@code [R, d]}
   * @param out {@code [R, 1]}
   */
  void inverseRms(Tensor x, double floor, Tensor out);

  /**
   * {@code out = scale * (a - b)}, row by row.
   *
   * @param a {@code [R, d]}
   * @param b {@code [R, d]}; null for zeros
   * @param scale {@code [R, 1]}
   * @param out {@code [R, d]}; may be {@code a} or {@code b}
   */
  void scaledDifference(Tensor a, @Nullable Tensor b, Tensor scale, Tensor out);

  /**
   * {@code out = x * y}, element by element, for tensors of one shape; {@code out} may be {@code x}
   * or {@code y}.
   */
  void multiply(Tensor x, Tensor y, Tensor out);

  /**
   * Copies columns: {@code out_r,(first + i) = x_r,columns[i]}. Other columns of {@code out} stay
   * as they are.
   *
   * @param x {@code [R, n]} of any dtype
   * @param columns {@code [m]}, each below {@code n}
   * @param out {@code [R, k]} of the dtype of {@code x}, not {@code x} itself
   * @param first {@code first + m <= k}
   */
  void gatherColumns(Tensor x, int[] columns, Tensor out, long first);

  /**
   * What {@link #solver} needs and this machine lacks, as the beginning of an error message: what
   * is missing, and what helps. Null if the solver can be used.
   */
  default @Nullable String missingForSolver() {
    return HostSolver.missing();
  }

  /**
   * What solves linear systems whose tensors lie in this device's memory. Only to be called where
   * {@link #missingForSolver} is null.
   */
  default LinearSolver solver() {
    return new HostSolver(this, "OpenBLAS on the host");
  }
}
