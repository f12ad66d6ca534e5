package dev.laco.linalg;

/** Solutions of linear systems by Gauss with the largest pivots: slow and plain. */
public final class Elimination {
  private Elimination() {}

  /**
   * The {@code x} of {@code matrix x = b} for each row {@code b} of {@code right}, a row each.
   *
   * @param matrix {@code [n, n]}
   * @param right {@code [r, n]}
   */
  public static double[][] solve(double[][] matrix, double[][] right) {
    int n = matrix.length;
    int r = right.length;
    double[][] rows = new double[n][n + r];
    for (int i = 0; i < n; i++) {
      System.arraycopy(matrix[i], 0, rows[i], 0, n);
      for (int k = 0; k < r; k++) {
        rows[i][n + k] = right[k][i];
      }
    }
    for (int p = 0; p < n; p++) {
      int largest = p;
      for (int i = p; i < n; i++) {
        largest = Math.abs(rows[i][p]) > Math.abs(rows[largest][p]) ? i : largest;
      }
      double[] pivot = rows[largest];
      rows[largest] = rows[p];
      rows[p] = pivot;
      for (int i = 0; i < n; i++) {
        double factor = rows[i][p] / pivot[p];
        for (int j = p; i != p && j < n + r; j++) {
          rows[i][j] -= factor * pivot[j];
        }
      }
    }
    double[][] solutions = new double[r][n];
    for (int i = 0; i < n; i++) {
      for (int k = 0; k < r; k++) {
        solutions[k][i] = rows[i][n + k] / rows[i][i];
      }
    }
    return solutions;
  }
}
