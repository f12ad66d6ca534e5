package dev.laco.backend;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.abort;

import dev.laco.linalg.Elimination;
import dev.laco.linalg.NotPositiveDefiniteException;
import dev.laco.model.DType;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** What every backend must do as {@link SolvingOps}. */
public abstract class SolvingContract extends Contract {
  protected SolvingContract(TestedBackend tested) {
    super(tested);
  }

  @ParameterizedTest
  @CsvSource({
    "1,1,1",
    "1,7,31",
    "3,64,9",
    "7,127,3",
    "32,32,32",
    "33,257,65",
    "513,130,96",
    "2100,5,9"
  })
  void addsTheCrossProduct(int rows, int m, int n) {
    float[] a = normal(rows * m);
    float[] b = normal(rows * n);
    float[] sums = normal(m * n);
    // What is added may cancel most of a product, but not the rounding error of the product.
    double terms = 1;
    same(
        "crossProduct",
        tested.crossProduct(),
        terms,
        run -> {
          Tensor out = run.tensor(sums, m, n);
          Tensor left = run.tensor(a, rows, m);
          run.on.crossProduct(left, run.tensor(b, rows, n), out);
          run.on.crossProduct(left.slice(0, 1), run.tensor(b, rows, n).slice(0, 1), out);
          return out;
        });
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 7, 31, 32, 33, 127, 257})
  void addsTheCrossProductOfATensorWithItself(int n) {
    float[] a = normal(40 * n);
    a[11] = Float.NaN;
    same(
        "crossProduct",
        tested.crossProduct(),
        run -> {
          Tensor out = run.result(n, n);
          run.on.upload(new float[n * n], out);
          Tensor both = run.tensor(a, 40, n);
          run.on.crossProduct(both, both, out);
          return out;
        });
  }

  @ParameterizedTest
  @CsvSource({
    "40,1",
    "40,7",
    "40,31",
    "40,33",
    "40,255",
    "40,257",
    "40,530",
    "40,700",
    "300,31",
    "300,257",
    "1030,257"
  })
  void addsTheGramMatrixUpToTheDiagonal(int rows, int n) {
    float[] a = normal(rows * n);
    a[n / 2] = Float.NaN;
    float[] sums = normal(n * n);
    for (boolean rounded : new boolean[] {false, true}) {
      sameEach(
          "addGram",
          tested.crossProduct(),
          run -> {
            Tensor out = run.tensor(sums, n, n);
            Tensor features = run.tensor(a, rows, n);
            DType factor = rounded ? run.on.productType(DType.BF16) : DType.F32;
            run.on.addGram(run.rounded(features, factor), out);
            run.on.addGram(features.slice(0, 1), out);
            float[] values = run.download(out);
            for (int i = 0; i < n; i++) {
              Arrays.fill(values, i * n + i + 1, (i + 1) * n, 0);
            }
            run.on.upload(values, out);
            return List.of(out);
          });
    }
  }

  /** More than one panel of columns, and more rows or fewer than columns. */
  @ParameterizedTest
  @CsvSource({"1,1", "3,7", "40,33", "5,256", "2,257", "9,700"})
  void givesTheQuadraticFormsOfRows(int rows, int n) {
    float[] x = normal(rows * n);
    float[] half = normal(n * n);
    float[] symmetric = new float[n * n];
    for (int i = 0; i < n; i++) {
      for (int j = 0; j < n; j++) {
        symmetric[i * n + j] = half[i * n + j] + half[j * n + i];
      }
    }
    for (boolean finite : new boolean[] {true, false}) {
      if (!finite) {
        x[n - 1] = Float.NaN;
      }
      same(
          "quadraticForms",
          Tolerance.ACCUMULATED,
          // The terms of a form are larger than the form.
          n,
          run -> {
            Tensor vectors = run.tensor(x, rows, n);
            Tensor out = run.result(rows, n);
            run.on.quadraticForms(vectors, run.tensor(symmetric, n, n), out);
            float[] products = run.download(out);
            float[] forms = new float[rows];
            for (int r = 0; r < rows; r++) {
              double sum = 0;
              for (int i = r * n; i < (r + 1) * n; i++) {
                sum += (double) x[i] * products[i];
              }
              forms[r] = (float) sum;
            }
            return run.tensor(forms, 1, rows);
          });
    }
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 7, 33, 256, 257, 700})
  void squaresATriangle(int n) {
    float[] triangle = normal(n * n);
    for (int i = 0; i < n; i++) {
      Arrays.fill(triangle, i * n, i * n + i, 0);
    }
    same(
        "squareOfTriangle",
        Tolerance.ACCUMULATED,
        run -> {
          Tensor out = run.result(n, n);
          run.on.squareOfTriangle(run.tensor(triangle, n, n), out);
          return out;
        });
  }

  @Test
  void refusesProductsOfOtherShapes() {
    try (Run run = new Run(backend)) {
      Tensor x = run.result(2, 3);
      Tensor square = run.result(3, 3);
      Tensor half = run.arena.allocate(DType.F16, 3, 3);
      refuses(() -> run.on.quadraticForms(x, x, run.result(2, 3)));
      refuses(() -> run.on.quadraticForms(x, square, run.result(3, 3)));
      refuses(() -> run.on.quadraticForms(x, half, run.result(2, 3)));
      refuses(() -> run.on.squareOfTriangle(x, run.result(3, 3)));
      refuses(() -> run.on.squareOfTriangle(square, x));
      refuses(() -> run.on.squareOfTriangle(half, square));
    }
  }

  @ParameterizedTest
  @CsvSource({"3,7,5", "40,33,17", "130,64,96", "1100,20,12"})
  void multipliesFactorsThatAreRoundedAlready(int rows, int m, int n) {
    float[] a = normal(rows * m);
    float[] b = normal(rows * n);
    DType factor = backend.productType(DType.BF16);
    for (boolean both : new boolean[] {false, true}) {
      double[][] values =
          of(
              backend,
              run -> {
                Tensor left = run.tensor(a, rows, m);
                Tensor right = run.tensor(b, rows, n);
                Tensor expected = run.tensor(new float[m * n], m, n);
                run.on.crossProduct(left, right, expected);
                Tensor actual = run.tensor(new float[m * n], m, n);
                run.on.crossProduct(
                    run.rounded(left, factor), both ? run.rounded(right, factor) : right, actual);
                return new double[][] {widen(run.download(expected)), widen(run.download(actual))};
              });
      close("crossProduct", Tolerance.EXACT, 1, values[0], values[1]);
    }
  }

  @ParameterizedTest
  @CsvSource({
    "1,1", "3,7", "40,15", "7,16", "33,17", "100,33", "17,63", "5,65", "130,257", "9,4097"
  })
  void addsTheSquaresOfEachColumn(int rows, int width) {
    float[] x = normal(rows * width);
    float[] sums = normal(width);
    x[width / 2] = Float.NaN;
    same(
        "addSquares",
        Tolerance.ACCUMULATED,
        run -> {
          Tensor out = run.tensor(sums, 1, width);
          run.on.addSquares(run.tensor(x, rows, width), out);
          return out;
        });
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 7, 31, 32, 33, 257, 4097})
  void gathersColumnsBitForBit(int width) {
    float[] x = normal(3 * width);
    x[width] = Float.NaN;
    x[width / 2] = Float.NEGATIVE_INFINITY;
    int[] columns = new int[width / 2 + 1];
    for (int i = 0; i < columns.length; i++) {
      columns[i] = (i * 7 + 3) % width;
    }
    for (DType dtype : DType.values()) {
      same(
          "gatherColumns " + dtype,
          Tolerance.EXACT,
          run -> {
            Tensor out = run.rounded(run.result(3, columns.length + 4), dtype);
            run.on.gatherColumns(run.rounded(run.tensor(x, 3, width), dtype), columns, out, 3);
            return run.widened(out);
          });
    }
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 7, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 257, 576, 4096})
  void measuresTheReciprocalSizeOfEachRow(int width) {
    float[] x = normal(5 * width);
    Arrays.fill(x, width, 2 * width, 0);
    x[3 * width - 1] = Float.NaN;
    for (double floor : new double[] {1e-6, 1}) {
      same(
          "inverseRms",
          Tolerance.ELEMENTWISE,
          run -> {
            Tensor out = run.result(5, 1);
            run.on.inverseRms(run.tensor(x, 5, width), floor, out);
            return out;
          });
    }
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 7, 15, 16, 17, 31, 32, 33, 127, 257, 40000})
  void scalesDifferencesRowByRow(int width) {
    float[] a = normal(3 * width);
    float[] b = normal(3 * width);
    float[] scale = normal(3);
    b[width] = Float.NEGATIVE_INFINITY;
    a[2 * width] = Float.NaN;
    for (float[] less : Arrays.asList(null, b)) {
      for (boolean inPlace : new boolean[] {false, true}) {
        same(
            "scaledDifference",
            Tolerance.ELEMENTWISE,
            run -> {
              Tensor from = run.tensor(a, 3, width);
              Tensor subtracted = less == null ? null : run.tensor(less, 3, width);
              Tensor out =
                  inPlace ? (subtracted == null ? from : subtracted) : run.result(3, width);
              run.on.scaledDifference(from, subtracted, run.tensor(scale, 3, 1), out);
              return out;
            });
      }
    }
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 7, 15, 16, 17, 31, 32, 33, 127, 257, 40000})
  void multipliesElements(int n) {
    float[] x = normal(n);
    float[] y = normal(n);
    x[n / 2] = Float.NEGATIVE_INFINITY;
    for (int place = 0; place < 3; place++) {
      int at = place;
      same(
          "multiply",
          Tolerance.EXACT,
          run -> {
            Tensor left = run.tensor(x, 1, n);
            Tensor right = run.tensor(y, 1, n);
            Tensor out = List.of(left, right, run.result(1, n)).get(at);
            run.on.multiply(left, right, out);
            return out;
          });
    }
  }

  /**
   * Solutions are exact to f64 and then rounded once to f32, so that Gaussian elimination in f64
   * gives the same f32 numbers, or neighbours of them.
   */
  @ParameterizedTest
  @CsvSource({"1,1", "2,3", "7,1", "31,5", "32,1", "33,33", "130,7", "257,40"})
  void solvesRidgeRegression(int n, int outputs) {
    float[][] gram = {gram(n), gram(n)};
    for (int i = 0; i < n * n; i++) {
      // The second matrix holds sums over some of the rows of the first.
      gram[0][i] += gram[1][i];
    }
    float[][] cross = {normal(outputs * n), normal(outputs * n)};
    double lambda = 0.3;
    double floor = 0.01;
    for (boolean all : new boolean[] {true, false}) {
      double[][] matrix = new double[n][n];
      double[][] right = new double[outputs][n];
      double trace = 0;
      for (int i = 0; i < n; i++) {
        for (int j = 0; j < n; j++) {
          matrix[i][j] = gram[0][i * n + j] - (all ? 0.0 : gram[1][i * n + j]);
        }
        trace += matrix[i][i];
        for (int k = 0; k < outputs; k++) {
          right[k][i] = cross[0][k * n + i] - (all ? 0.0 : cross[1][k * n + i]);
        }
      }
      for (int i = 0; i < n; i++) {
        matrix[i][i] += lambda * (matrix[i][i] + floor * trace / n);
      }
      double[][] expected = Elimination.solve(matrix, right);
      // The memory is larger than the system.
      try (LinearSystem system = solver().system(n + 2, outputs + 1);
          Run run = new Run(backend)) {
        Tensor out = run.result(outputs, n);
        system.ridge(
            difference(run, gram, n, all),
            difference(run, cross, outputs, all),
            lambda,
            floor,
            out);
        float[] found = run.download(out);
        for (int i = 0; i < found.length; i++) {
          float close = (float) expected[i / n][i % n];
          assertEquals(close, found[i], Math.ulp(close), n + ", " + i);
        }
        run.checkSentinels();
      }
    }
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 2, 7, 33, 130})
  void whitens(int n) {
    float[] gram = gram(n);
    long count = 3L * n;
    double floor = 0.1;
    double mean = 0;
    for (int i = 0; i < n; i++) {
      mean += gram[i * (n + 1)] / (double) count / n;
    }
    try (LinearSystem system = solver().system(n, n);
        Run run = new Run(backend)) {
      Tensor out = run.result(n, n);
      system.whitening(run.tensor(gram, n, n), count, floor, out);
      float[] r = run.download(out);
      run.checkSentinels();
      // The transpose of r, times the matrix of moments, times r.
      double[][] product = new double[n][n];
      for (int a = 0; a < n; a++) {
        for (int b = 0; b < n; b++) {
          double moment = gram[a * n + b] / (double) count + (a == b ? floor * mean : 0);
          for (int j = 0; j < n; j++) {
            product[a][j] += moment * r[b * n + j];
          }
        }
      }
      for (int i = 0; i < n; i++) {
        for (int j = 0; j < n; j++) {
          double whitened = 0;
          for (int a = 0; a < n; a++) {
            whitened += r[a * n + i] * product[a][j];
          }
          assertEquals(i == j ? 1 : 0, whitened, 1e-5);
          assertTrue(i <= j || r[i * n + j] == 0);
        }
      }
    }
  }

  @Test
  void saysWhereAMatrixIsNotPositiveDefinite() {
    int n = 100;
    float[] right = normal(n);
    try (LinearSystem system = solver().system(n, n);
        Run run = new Run(backend)) {
      Tensor out = run.result(1, n);
      LinearSystem.Difference cross = new LinearSystem.Difference(run.tensor(right, 1, n), null);
      for (float value : new float[] {-1, 0, Float.NaN, Float.POSITIVE_INFINITY}) {
        float[] gram = new float[n * n];
        for (int i = 0; i < n; i++) {
          gram[i * (n + 1)] = i == 60 ? value : 1;
        }
        Tensor matrix = run.tensor(gram, n, n);
        LinearSystem.Difference all = new LinearSystem.Difference(matrix, null);
        NotPositiveDefiniteException e =
            assertThrows(
                NotPositiveDefiniteException.class, () -> system.ridge(all, cross, 0, 0, out));
        // A trace that is not finite makes all penalties not finite, so that the first order fails.
        int order = Float.isFinite(value) ? 61 : 1;
        assertTrue(e.getMessage().contains("order " + order + " of 100"), e.getMessage());
        assertThrows(
            NotPositiveDefiniteException.class,
            () -> system.whitening(matrix, 1, 0, run.result(n, n)));
      }
      run.checkSentinels();
    }
  }

  @Test
  void refusesSystemsOfOtherShapes() {
    try (LinearSystem system = solver().system(3, 2);
        Run run = new Run(backend)) {
      Tensor matrix = run.result(3, 3);
      Tensor right = run.result(2, 3);
      Tensor large = run.result(4, 4);
      LinearSystem.Difference gram = new LinearSystem.Difference(matrix, null);
      LinearSystem.Difference cross = new LinearSystem.Difference(right, null);
      refuses(() -> system.ridge(cross, cross, 1, 0, right));
      refuses(() -> system.ridge(new LinearSystem.Difference(matrix, right), cross, 1, 0, right));
      refuses(() -> system.ridge(gram, gram, 1, 0, right));
      refuses(() -> system.ridge(gram, new LinearSystem.Difference(right, matrix), 1, 0, right));
      refuses(() -> system.whitening(matrix, 1, 0, right));
      refuses(() -> system.whitening(right, 1, 0, right));
      // The memory is too small for these systems.
      LinearSystem.Difference four = new LinearSystem.Difference(large, null);
      assertThrows(RuntimeException.class, () -> system.ridge(four, four, 1, 0, large));
      assertThrows(RuntimeException.class, () -> system.ridge(gram, gram, 1, 0, matrix));
      assertThrows(RuntimeException.class, () -> system.whitening(matrix, 1, 0, matrix));
      run.checkSentinels();
    }
  }

  private static LinearSystem.Difference difference(
      Run run, float[][] allAndPart, int rows, boolean all) {
    int columns = allAndPart[0].length / rows;
    return new LinearSystem.Difference(
        run.tensor(allAndPart[0], rows, columns),
        all ? null : run.tensor(allAndPart[1], rows, columns));
  }

  /** The backend's solver; the test is skipped on a machine that has none. */
  private LinearSolver solver() {
    String missing = backend.missingForSolver();
    if (missing != null) {
      return abort(missing);
    }
    LinearSolver solver = backend.solver();
    assertTrue(solver.bytes(3, 2) >= 8 * 3 * (3 + 2));
    return solver;
  }

  /** Second moments of {@code 2 n} random rows. */
  private float[] gram(int n) {
    float[] rows = normal(2 * n * n);
    float[] gram = new float[n * n];
    for (int i = 0; i < n; i++) {
      for (int j = 0; j < n; j++) {
        double sum = 0;
        for (int row = 0; row < 2 * n; row++) {
          sum += (double) rows[row * n + i] * rows[row * n + j];
        }
        gram[i * n + j] = (float) sum;
      }
    }
    return gram;
  }

  @Test
  void refusesArgumentsThatDoNotFit() {
    try (Run run = new Run(backend)) {
      Tensor x = run.tensor(new float[12], 3, 4);
      Tensor other = run.tensor(new float[15], 3, 5);
      Tensor half = run.arena.allocate(DType.F16, 3, 4);
      refuses(() -> backend.multiply(x, other, x));
      refuses(() -> backend.multiply(x, x, other));
      refuses(() -> backend.multiply(x, half, x));
      refuses(() -> backend.crossProduct(x, other, other));
      refuses(() -> backend.crossProduct(x, x.reshape(4, 3), other));
      refuses(() -> backend.crossProduct(half, x, run.result(4, 4)));
      refuses(() -> backend.addGram(x, x));
      refuses(() -> backend.addGram(half, run.result(4, 4)));
      refuses(() -> backend.inverseRms(x, 0, run.result(1, 3)));
      refuses(() -> backend.scaledDifference(x, null, run.result(1, 3), x));
      refuses(() -> backend.scaledDifference(x, other, run.result(3, 1), x));
      refuses(() -> backend.addSquares(x, run.result(4, 1)));
      int[] columns = {0, 3};
      Tensor wide = run.result(3, 5);
      refuses(() -> backend.gatherColumns(x, columns, wide, 4));
      refuses(() -> backend.gatherColumns(x, columns, wide, -1));
      refuses(() -> backend.gatherColumns(x, new int[] {4}, wide, 0));
      refuses(() -> backend.gatherColumns(x, new int[] {-1}, wide, 0));
      refuses(() -> backend.gatherColumns(half, columns, wide, 0));
      refuses(() -> backend.gatherColumns(x, columns, run.result(4, 5), 0));
    }
  }
}
