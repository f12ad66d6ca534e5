package dev.laco.linalg;

import static java.lang.foreign.ValueLayout.JAVA_DOUBLE;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.Random;
import java.util.concurrent.atomic.AtomicBoolean;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Solutions against a plain elimination, and what is no system. */
class CholeskyTest {
  private final Random random = new Random(7);
  private final Arena memory = Arena.ofShared();

  @AfterEach
  void free() {
    memory.close();
  }

  @ParameterizedTest
  @CsvSource({"1,1", "2,3", "7,1", "31,5", "32,1", "33,33", "130,7", "257,40"})
  void solvesForEveryRightHandSide(int n, int r) {
    double[][] matrix = positiveDefinite(n, 1);
    double[][] right = normal(r, n);
    double[][] expected = Elimination.solve(matrix, right);
    for (int threads : new int[] {1, 2}) {
      double[][] found = solve(matrix, right, threads);
      for (int k = 0; k < r; k++) {
        for (int i = 0; i < n; i++) {
          assertEquals(expected[k][i], found[k][i], 1e-9, k + ", " + i);
        }
      }
    }
  }

  /** The number of OpenBLAS's threads, on which last bits depend, is one for the process. */
  @Test
  void whoeverSolvesBesideChangesNothing() throws InterruptedException {
    double[][] large = positiveDefinite(2100, 1);
    double[][] small = positiveDefinite(100, 1);
    double[][] right = normal(1, 2100);
    double[] alone = solve(large, right, 2)[0];
    AtomicBoolean ends = new AtomicBoolean();
    Thread beside =
        new Thread(
            () -> {
              MemorySegment matrix = store(small);
              while (!ends.get()) {
                try (Arena scratch = Arena.ofShared()) {
                  MemorySegment a = scratch.allocate(matrix.byteSize(), Double.BYTES);
                  Cholesky.solve(a.copyFrom(matrix), scratch.allocate(JAVA_DOUBLE, 100), 100, 1, 1);
                }
              }
            });
    beside.start();
    try {
      for (int i = 0; i < 5; i++) {
        assertArrayEquals(alone, solve(large, right, 2)[0]);
      }
    } finally {
      ends.set(true);
      beside.join();
    }
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 2, 7, 33, 130})
  void theInverseFactorWhitens(int n) {
    double[][] matrix = positiveDefinite(n, 1);
    MemorySegment inverse = memory.allocate(JAVA_DOUBLE, (long) n * n);
    inverse.fill((byte) 1);
    Cholesky.inverseFactor(store(matrix), inverse, n, 2);
    double[][] r = new double[n][n];
    for (int i = 0; i < n; i++) {
      MemorySegment.copy(inverse, JAVA_DOUBLE, 8L * i * n, r[i], 0, n);
    }
    for (int i = 0; i < n; i++) {
      for (int j = 0; j < n; j++) {
        double whitened = 0;
        for (int a = 0; a < n; a++) {
          for (int b = 0; b < n; b++) {
            whitened += r[a][i] * matrix[a][b] * r[b][j];
          }
        }
        assertEquals(i == j ? 1 : 0, whitened, 1e-9);
        assertTrue(i <= j || r[i][j] == 0);
      }
    }
  }

  @Test
  void readsTheLowerTriangleOnly() {
    double[][] matrix = positiveDefinite(40, 1);
    double[][] right = normal(2, 40);
    double[][] expected = solve(matrix, right, 1);
    for (int i = 0; i < 40; i++) {
      for (int j = i + 1; j < 40; j++) {
        matrix[i][j] = Double.NaN;
      }
    }
    assertEquals(expected[1][39], solve(matrix, right, 1)[1][39]);
  }

  /** What is left of the right-hand side is small even where the solution is far off. */
  @ParameterizedTest
  @ValueSource(doubles = {1e-4, 1e-8, 1e-11})
  void leavesLittleOfIllConditionedSystems(double least) {
    int n = 120;
    double[][] matrix = positiveDefinite(n, least);
    double[][] right = normal(3, n);
    double[][] found = solve(matrix, right, 2);
    for (int k = 0; k < 3; k++) {
      double size = 0;
      for (double x : found[k]) {
        size = Math.max(size, Math.abs(x));
      }
      for (int i = 0; i < n; i++) {
        double left = right[k][i];
        for (int j = 0; j < n; j++) {
          left -= matrix[i][j] * found[k][j];
        }
        assertEquals(0, left, 1e-11 * n * size);
      }
    }
  }

  /** {@code (I + v v^T) x = b} is {@code x = b - v (v.b) / (1 + v.v)}; large enough for threads. */
  @Test
  void solvesLargeSystemsOnSeveralThreads() {
    int n = 2100;
    double[] v = normal(1, n)[0];
    double[][] right = normal(2, n);
    double[][] matrix = new double[n][n];
    double squares = 0;
    for (int i = 0; i < n; i++) {
      for (int j = 0; j < n; j++) {
        matrix[i][j] = v[i] * v[j] + (i == j ? 1 : 0);
      }
      squares += v[i] * v[i];
    }
    double[][] found = solve(matrix, right, 2);
    for (int k = 0; k < 2; k++) {
      double product = 0;
      for (int i = 0; i < n; i++) {
        product += v[i] * right[k][i];
      }
      for (int i = 0; i < n; i++) {
        assertEquals(right[k][i] - v[i] * product / (1 + squares), found[k][i], 1e-9);
      }
    }
  }

  @Test
  void twoSolutionsAreTheSameToTheBit() {
    double[][] matrix = positiveDefinite(200, 1e-3);
    double[][] right = normal(5, 200);
    assertTrue(Arrays.deepEquals(solve(matrix, right, 2), solve(matrix, right, 2)));
  }

  @Test
  void saysWhereAMatrixIsNotPositiveDefinite() {
    double[][] matrix = positiveDefinite(100, 1);
    matrix[60][60] = -1;
    NotPositiveDefiniteException e =
        assertThrows(NotPositiveDefiniteException.class, () -> solve(matrix, normal(1, 100), 1));
    assertEquals(
        "the matrix is not positive definite: its leading minor of order 61 of 100 is not positive",
        e.getMessage());
  }

  @ParameterizedTest
  @ValueSource(doubles = {Double.NaN, Double.POSITIVE_INFINITY})
  void whatIsNotFiniteIsNotPositiveDefinite(double value) {
    for (int[] at : new int[][] {{0, 0}, {50, 50}, {99, 99}, {70, 3}}) {
      double[][] matrix = positiveDefinite(100, 1);
      matrix[at[0]][at[1]] = value;
      assertThrows(NotPositiveDefiniteException.class, () -> solve(matrix, normal(1, 100), 2));
    }
  }

  @Test
  void refusesMemoryOfOtherSizes() {
    MemorySegment nine = memory.allocate(JAVA_DOUBLE, 9);
    MemorySegment six = memory.allocate(JAVA_DOUBLE, 6);
    MemorySegment heap = MemorySegment.ofArray(new double[9]);
    assertThrows(IllegalArgumentException.class, () -> Cholesky.solve(six, six, 3, 2, 1));
    assertThrows(IllegalArgumentException.class, () -> Cholesky.solve(nine, six, 3, 3, 1));
    assertThrows(IllegalArgumentException.class, () -> Cholesky.solve(nine, six, 3, 0, 1));
    assertThrows(IllegalArgumentException.class, () -> Cholesky.solve(heap, six, 3, 2, 1));
    assertThrows(IllegalArgumentException.class, () -> Cholesky.inverseFactor(nine, six, 3, 1));
    assertThrows(IllegalArgumentException.class, () -> Cholesky.solve(nine, six, 3, 2, 0));
  }

  private double[][] solve(double[][] matrix, double[][] right, int threads) {
    MemorySegment a = store(matrix);
    MemorySegment b = store(right);
    Cholesky.solve(a, b, matrix.length, right.length, threads);
    double[][] solutions = new double[right.length][matrix.length];
    for (int k = 0; k < right.length; k++) {
      MemorySegment.copy(b, JAVA_DOUBLE, 8L * k * matrix.length, solutions[k], 0, matrix.length);
    }
    return solutions;
  }

  private MemorySegment store(double[][] matrix) {
    MemorySegment segment = memory.allocate(JAVA_DOUBLE, (long) matrix.length * matrix[0].length);
    for (int i = 0; i < matrix.length; i++) {
      MemorySegment.copy(
          matrix[i], 0, segment, JAVA_DOUBLE, 8L * i * matrix[0].length, matrix[0].length);
    }
    return segment;
  }

  /** {@code X X^T + least I}, with {@code X} of half the rank, so that it is as bad as it looks. */
  private double[][] positiveDefinite(int n, double least) {
    double[][] factors = normal(n, Math.ceilDiv(n, 2));
    double[][] matrix = new double[n][n];
    for (int i = 0; i < n; i++) {
      for (int j = 0; j < n; j++) {
        for (int k = 0; k < factors[i].length; k++) {
          matrix[i][j] += factors[i][k] * factors[j][k];
        }
      }
      matrix[i][i] += least;
    }
    return matrix;
  }

  private double[][] normal(int rows, int columns) {
    double[][] values = new double[rows][columns];
    for (double[] row : values) {
      for (int i = 0; i < columns; i++) {
        row[i] = random.nextGaussian();
      }
    }
    return values;
  }
}
