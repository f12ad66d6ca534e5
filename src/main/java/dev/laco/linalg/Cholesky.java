package dev.laco.linalg;

import static java.lang.foreign.ValueLayout.JAVA_DOUBLE;

import java.lang.foreign.MemorySegment;
import java.util.Locale;
import java.util.concurrent.locks.Lock;
import java.util.concurrent.locks.ReadWriteLock;
import java.util.concurrent.locks.ReentrantReadWriteLock;
import java.util.stream.IntStream;

/**
 * Solves linear systems whose matrix is symmetric and positive definite, by the Cholesky
 * factorisation (LAPACK's {@code dpotrf}).
 */
public final class Cholesky {
  /**
   * The smallest order of a matrix that several threads factor. A smaller one takes one thread tens
   * of milliseconds. Two threads take half of that on an idle machine, but on a busy machine, where
   * they wait for each other, ten times as long. Right-hand sides are shared among threads that
   * need not wait for each other.
   */
  private static final long THREADED_ORDER = 2048;

  /**
   * OpenBLAS has one number of threads for the whole process. Whoever factors with several holds
   * the write lock; all others, whose last bits would change, the read lock.
   */
  private static final ReadWriteLock THREADS = new ReentrantReadWriteLock();

  private Cholesky() {}

  /**
   * Solves {@code A x = b} for {@code r} right-hand sides at once, by {@code A = L L^T}.
   *
   * @param a {@code A [n, n]}, f64 row-major, in memory that all threads may access; only the lower
   *     triangle is read; holds the factor {@code L} afterwards
   * @param b {@code b [r, n]} likewise, one right-hand side in each row; holds the solutions
   *     afterwards
   * @param n the order of the system
   * @param r the number of right-hand sides
   * @param threads the most threads to use; the last bits of the solutions may depend on their
   *     number
   * @throws NotPositiveDefiniteException if {@code A} is not positive definite in f64; the contents
   *     of {@code a} and {@code b} are undefined then
   * @throws dev.laco.ResourceException if there is no OpenBLAS
   */
  public static void solve(MemorySegment a, MemorySegment b, long n, long r, int threads) {
    check("b", b, r, n);
    OpenBlas blas = factor(a, n, threads);
    inParts(
        b,
        n,
        r,
        threads,
        (part, rows) -> {
          blas.solveTriangular(a, part, (int) n, rows, true);
          blas.solveTriangular(a, part, (int) n, rows, false);
        });
  }

  /**
   * Inverts and transposes the factor: {@code R = L^-T} with {@code A = L L^T}. {@code R} whitens:
   * if rows {@code x} have the second moments {@code A}, rows {@code x R} have the identity's.
   *
   * @param a {@code A [n, n]}, as for {@link #solve}
   * @param r {@code [n, n]}, f64 row-major; holds {@code R} afterwards, with zeros below the
   *     diagonal
   * @throws NotPositiveDefiniteException if {@code A} is not positive definite in f64
   * @throws dev.laco.ResourceException if there is no OpenBLAS
   */
  public static void inverseFactor(MemorySegment a, MemorySegment r, long n, int threads) {
    check("r", r, n, n);
    OpenBlas blas = factor(a, n, threads);
    r.fill((byte) 0);
    for (long i = 0; i < n; i++) {
      r.set(JAVA_DOUBLE, i * (n + 1) * Double.BYTES, 1);
    }
    inParts(r, n, n, threads, (part, rows) -> blas.solveTriangular(a, part, (int) n, rows, true));
  }

  /** Solves for some right-hand sides. */
  private interface Solve {
    void run(MemorySegment part, int rows);
  }

  /** Solves for the {@code r} rows of {@code b [r, n]}, as many on each thread. */
  private static void inParts(MemorySegment b, long n, long r, int threads, Solve solve) {
    long each = Math.ceilDiv(r, threads);
    IntStream.range(0, Math.toIntExact(Math.ceilDiv(r, each)))
        .parallel()
        .forEach(
            part -> {
              long rows = Math.min(each, r - part * each);
              long bytes = n * Double.BYTES;
              THREADS.readLock().lock();
              try {
                solve.run(b.asSlice(part * each * bytes, rows * bytes), (int) rows);
              } finally {
                THREADS.readLock().unlock();
              }
            });
  }

  /** Replaces {@code a} by its factor {@code L}. */
  private static OpenBlas factor(MemorySegment a, long n, int threads) {
    check("a", a, n, n);
    if (threads < 1) {
      throw new IllegalArgumentException(threads + " threads");
    }
    OpenBlas blas = OpenBlas.get();
    int order = factor(blas, a, (int) n, n < THREADED_ORDER ? 1 : threads);
    if (order != 0) {
      throw new NotPositiveDefiniteException(order, n);
    }
    // OpenBLAS only compares pivots with 0, so that a NaN is no error there.
    for (long i = 0; i < n; i++) {
      if (!(a.get(JAVA_DOUBLE, i * (n + 1) * Double.BYTES) < Double.POSITIVE_INFINITY)) {
        throw new NotPositiveDefiniteException(i + 1, n);
      }
    }
    return blas;
  }

  private static int factor(OpenBlas blas, MemorySegment a, int n, int threads) {
    Lock lock = threads == 1 ? THREADS.readLock() : THREADS.writeLock();
    lock.lock();
    try {
      if (threads == 1) {
        return blas.factor(a, n);
      }
      blas.setThreads(threads);
      try {
        return blas.factor(a, n);
      } finally {
        blas.setThreads(1);
      }
    } finally {
      lock.unlock();
    }
  }

  /**
   * The file or name by which OpenBLAS, which solves the systems, was found.
   *
   * @throws dev.laco.ResourceException if there is no OpenBLAS
   */
  public static String library() {
    return OpenBlas.get().location();
  }

  private static void check(String name, MemorySegment matrix, long rows, long columns) {
    if (rows < 1
        || columns < 1
        || Math.max(rows, columns) > Integer.MAX_VALUE
        || !matrix.isNative()
        || matrix.address() % Double.BYTES != 0
        || matrix.byteSize() != rows * columns * Double.BYTES) {
      throw new IllegalArgumentException(
          String.format(
              Locale.ROOT,
              "%s has %d bytes, must be [%d, %d] f64, aligned and off the heap",
              name,
              matrix.byteSize(),
              rows,
              columns));
    }
  }
}
