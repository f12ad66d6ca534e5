package dev.laco.backend.cuda;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import dev.laco.ffi.Downcalls;
import dev.laco.ffi.NativeLibrary;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.invoke.MethodHandle;

/**
 * The functions of cuBLAS that the backend calls; {@code libcublas.so.12} and {@code .13} have the
 * same.
 */
final class LibCublas {
  /** {@code cublasStatus_t cublasGetProperty(libraryPropertyType type, int *value)}. */
  private static final MethodHandle GET_PROPERTY = Downcalls.ofInt(JAVA_INT, ADDRESS);

  /** {@code const char *cublasGetStatusString(cublasStatus_t status)}. */
  private static final MethodHandle GET_STATUS_STRING = Downcalls.ofAddress(JAVA_INT);

  /** {@code cublasStatus_t cublasCreate_v2(cublasHandle_t *handle)}. */
  private static final MethodHandle CREATE = Downcalls.ofInt(ADDRESS);

  /** {@code cublasStatus_t cublasDestroy_v2(cublasHandle_t handle)}. */
  private static final MethodHandle DESTROY = Downcalls.ofInt(JAVA_LONG);

  /** {@code cublasStatus_t cublasSetStream_v2(cublasHandle_t handle, cudaStream_t stream)}. */
  private static final MethodHandle SET_STREAM = Downcalls.ofInt(JAVA_LONG, JAVA_LONG);

  /**
   * {@code cublasStatus_t cublasSetWorkspace_v2(cublasHandle_t handle, void *workspace, size_t
   * bytes)}.
   */
  private static final MethodHandle SET_WORKSPACE =
      Downcalls.ofInt(JAVA_LONG, JAVA_LONG, JAVA_LONG);

  /** {@code cublasStatus_t cublasSetMathMode(cublasHandle_t handle, cublasMath_t mode)}. */
  private static final MethodHandle SET_MATH_MODE = Downcalls.ofInt(JAVA_LONG, JAVA_INT);

  /**
   * {@code cublasStatus_t cublasGemmEx(cublasHandle_t handle, cublasOperation_t opA,
   * cublasOperation_t opB, int m, int n, int k, const void *alpha, const void *a, cudaDataType
   * typeA, int lda, const void *b, cudaDataType typeB, int ldb, const void *beta, void *c,
   * cudaDataType typeC, int ldc, cublasComputeType_t compute, cublasGemmAlgo_t algorithm)}.
   */
  private static final MethodHandle GEMM_EX =
      Downcalls.ofInt(
          JAVA_LONG, JAVA_INT, JAVA_INT, JAVA_INT, JAVA_INT, JAVA_INT, ADDRESS, JAVA_LONG, JAVA_INT,
          JAVA_INT, JAVA_LONG, JAVA_INT, JAVA_INT, ADDRESS, JAVA_LONG, JAVA_INT, JAVA_INT, JAVA_INT,
          JAVA_INT);

  /**
   * {@code cublasStatus_t cublasDtrsm_v2(cublasHandle_t handle, cublasSideMode_t side,
   * cublasFillMode_t fill, cublasOperation_t op, cublasDiagType_t diagonal, int m, int n, const
   * double *alpha, const double *a, int lda, double *b, int ldb)}.
   */
  private static final MethodHandle DTRSM =
      Downcalls.ofInt(
          JAVA_LONG, JAVA_INT, JAVA_INT, JAVA_INT, JAVA_INT, JAVA_INT, JAVA_INT, ADDRESS, JAVA_LONG,
          JAVA_INT, JAVA_LONG, JAVA_INT);

  private final MemorySegment getProperty;
  private final MemorySegment getStatusString;
  private final MemorySegment create;
  private final MemorySegment destroy;
  private final MemorySegment setStream;
  private final MemorySegment setWorkspace;
  private final MemorySegment setMathMode;
  private final MemorySegment gemmEx;
  private final MemorySegment dtrsm;

  /**
   * Binds the functions of a cuBLAS library.
   *
   * @throws dev.laco.ResourceException if the library lacks a function
   */
  LibCublas(NativeLibrary library) {
    getProperty = library.function("cublasGetProperty");
    getStatusString = library.function("cublasGetStatusString");
    create = library.function("cublasCreate_v2");
    destroy = library.function("cublasDestroy_v2");
    setStream = library.function("cublasSetStream_v2");
    setWorkspace = library.function("cublasSetWorkspace_v2");
    setMathMode = library.function("cublasSetMathMode");
    gemmEx = library.function("cublasGemmEx");
    dtrsm = library.function("cublasDtrsm_v2");
  }

  int cublasGetProperty(int type, MemorySegment value) {
    return Downcalls.call(() -> (int) GET_PROPERTY.invokeExact(getProperty, type, value));
  }

  MemorySegment cublasGetStatusString(int status) {
    return Downcalls.call(
        () -> (MemorySegment) GET_STATUS_STRING.invokeExact(getStatusString, status));
  }

  int cublasCreate(MemorySegment handle) {
    return Downcalls.call(() -> (int) CREATE.invokeExact(create, handle));
  }

  int cublasDestroy(long handle) {
    return Downcalls.call(() -> (int) DESTROY.invokeExact(destroy, handle));
  }

  int cublasSetStream(long handle, long stream) {
    return Downcalls.call(() -> (int) SET_STREAM.invokeExact(setStream, handle, stream));
  }

  int cublasSetWorkspace(long handle, long workspace, long bytes) {
    return Downcalls.call(
        () -> (int) SET_WORKSPACE.invokeExact(setWorkspace, handle, workspace, bytes));
  }

  int cublasSetMathMode(long handle, int mode) {
    return Downcalls.call(() -> (int) SET_MATH_MODE.invokeExact(setMathMode, handle, mode));
  }

  int cublasGemmEx(
      long handle,
      int opA,
      int opB,
      int m,
      int n,
      int k,
      MemorySegment alpha,
      long a,
      int typeA,
      int lda,
      long b,
      int typeB,
      int ldb,
      MemorySegment beta,
      long c,
      int typeC,
      int ldc,
      int compute,
      int algorithm) {
    return Downcalls.call(
        () ->
            (int)
                GEMM_EX.invokeExact(
                    gemmEx, handle, opA, opB, m, n, k, alpha, a, typeA, lda, b, typeB, ldb, beta, c,
                    typeC, ldc, compute, algorithm));
  }

  int cublasDtrsm(
      long handle,
      int side,
      int fill,
      int op,
      int diagonal,
      int m,
      int n,
      MemorySegment alpha,
      long a,
      int lda,
      long b,
      int ldb) {
    return Downcalls.call(
        () ->
            (int)
                DTRSM.invokeExact(
                    dtrsm, handle, side, fill, op, diagonal, m, n, alpha, a, lda, b, ldb));
  }

  /** The major (0), minor (1) or patch (2) number of the version. */
  int property(int type) {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment value = arena.allocate(JAVA_INT);
      check("cublasGetProperty", cublasGetProperty(type, value));
      return value.get(JAVA_INT, 0);
    }
  }

  /** Throws unless the status that the function {@code call} returned is 0. */
  void check(String call, int status) {
    if (status != 0) {
      String text = cublasGetStatusString(status).reinterpret(Long.MAX_VALUE).getString(0);
      throw new CudaException(call, status, "cuBLAS status", text);
    }
  }
}
