package dev.laco.linalg;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_DOUBLE;
import static java.lang.foreign.ValueLayout.JAVA_INT;

import dev.laco.ResourceException;
import dev.laco.ffi.Downcalls;
import dev.laco.ffi.LibrarySearch;
import dev.laco.ffi.NativeLibrary;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.invoke.MethodHandle;
import org.jspecify.annotations.Nullable;

/**
 * The functions of OpenBLAS (LAPACK and CBLAS) that {@link Cholesky} calls, loaded once per
 * process. OpenBLAS takes a row-major matrix for its transpose in column-major order, so that the
 * lower triangle here is the upper triangle there.
 */
final class OpenBlas {
  private static final String RESOURCES = "/org/bytedeco/openblas/linux-x86_64/";

  private static final int COLUMN_MAJOR = 102;
  private static final int NOT_TRANSPOSED = 111;
  private static final int TRANSPOSED = 112;
  private static final int UPPER = 121;
  private static final int NON_UNIT = 131;
  private static final int LEFT = 141;

  /** {@code void openblas_set_num_threads(int threads)}. */
  private static final MethodHandle SET_THREADS = Downcalls.ofVoid(JAVA_INT);

  /** {@code void dpotrf_(const char *uplo, const int *n, double *a, const int *lda, int *info)}. */
  private static final MethodHandle POTRF =
      Downcalls.ofVoid(ADDRESS, ADDRESS, ADDRESS, ADDRESS, ADDRESS);

  /**
   * {@code void cblas_dtrsm(int order, int side, int uplo, int transpose, int diagonal, int m, int
   * n, double alpha, const double *a, int lda, double *b, int ldb)}.
   */
  private static final MethodHandle TRSM =
      Downcalls.ofVoid(
          JAVA_INT,
          JAVA_INT,
          JAVA_INT,
          JAVA_INT,
          JAVA_INT,
          JAVA_INT,
          JAVA_INT,
          JAVA_DOUBLE,
          ADDRESS,
          JAVA_INT,
          ADDRESS,
          JAVA_INT);

  private static @Nullable OpenBlas loaded;

  private final String location;
  private final MemorySegment setThreads;
  private final MemorySegment potrf;
  private final MemorySegment trsm;

  private OpenBlas(NativeLibrary library) {
    this.location = library.location();
    this.setThreads = library.function("openblas_set_num_threads");
    this.potrf = library.function("dpotrf_");
    this.trsm = library.function("cblas_dtrsm");
  }

  /**
   * OpenBLAS, which the first call loads, and which then works on one thread.
   *
   * @throws dev.laco.ResourceException if OpenBLAS cannot be loaded
   */
  static synchronized OpenBlas get() {
    if (loaded == null) {
      OpenBlas library = new OpenBlas(load());
      library.setThreads(1);
      loaded = library;
    }
    return loaded;
  }

  private static NativeLibrary load() {
    // The OpenBLAS of the class path needs these libraries. The dynamic linker does not look for
    // them in its folder, so they are loaded first.
    for (String needed : new String[] {"libgcc_s.so.1", "libquadmath.so.0", "libgfortran.so.5"}) {
      new LibrarySearch(needed).soname(needed).resource(RESOURCES + needed);
    }
    try {
      return new LibrarySearch("openblas")
          .resource(RESOURCES + "libopenblas.so.0")
          .soname("libopenblas.so.0")
          .load();
    } catch (ResourceException e) {
      throw new ResourceException(
          "no OpenBLAS; " + e.getMessage() + "; install it (on Debian: libopenblas0)", e);
    }
  }

  /** The file or name by which the library was found. */
  String location() {
    return location;
  }

  /** Sets the number of threads of all later calls. */
  void setThreads(int threads) {
    Downcalls.call(
        () -> {
          SET_THREADS.invokeExact(setThreads, threads);
          return null;
        });
  }

  /**
   * Factors {@code a [n, n]} in place.
   *
   * @return 0, or the order of the smallest leading minor that is not positive
   */
  int factor(MemorySegment a, int n) {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment uplo = arena.allocateFrom("U");
      MemorySegment order = arena.allocateFrom(JAVA_INT, n);
      MemorySegment info = arena.allocate(JAVA_INT);
      Downcalls.call(
          () -> {
            POTRF.invokeExact(potrf, uplo, order, a, order, info);
            return null;
          });
      return info.get(JAVA_INT, 0);
    }
  }

  /**
   * Solves one of two triangular systems in place for each row of {@code b [r, n]}, with the factor
   * {@code L} in {@code a [n, n]}.
   *
   * @param first whether to solve with {@code L}, the first step of Cholesky; else with {@code L^T}
   */
  void solveTriangular(MemorySegment a, MemorySegment b, int n, int r, boolean first) {
    int transpose = first ? TRANSPOSED : NOT_TRANSPOSED;
    Downcalls.call(
        () -> {
          TRSM.invokeExact(
              trsm, COLUMN_MAJOR, LEFT, UPPER, transpose, NON_UNIT, n, r, 1.0, a, n, b, n);
          return null;
        });
  }
}
