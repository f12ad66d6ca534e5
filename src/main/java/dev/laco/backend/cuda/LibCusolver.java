package dev.laco.backend.cuda;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import dev.laco.ffi.Downcalls;
import dev.laco.ffi.NativeLibrary;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.invoke.MethodHandle;
import java.util.List;

/**
 * The functions of cuSOLVER that the backend calls; {@code libcusolver.so.11} and {@code .12} have
 * the same.
 */
final class LibCusolver {
  /** {@code cusolverStatus_t cusolverGetProperty(libraryPropertyType type, int *value)}. */
  private static final MethodHandle GET_PROPERTY = Downcalls.ofInt(JAVA_INT, ADDRESS);

  /** {@code cusolverStatus_t cusolverDnCreate(cusolverDnHandle_t *handle)}. */
  private static final MethodHandle CREATE = Downcalls.ofInt(ADDRESS);

  /** {@code cusolverStatus_t cusolverDnDestroy(cusolverDnHandle_t handle)}. */
  private static final MethodHandle DESTROY = Downcalls.ofInt(JAVA_LONG);

  /**
   * {@code cusolverStatus_t cusolverDnSetStream(cusolverDnHandle_t handle, cudaStream_t stream)}.
   */
  private static final MethodHandle SET_STREAM = Downcalls.ofInt(JAVA_LONG, JAVA_LONG);

  /**
   * {@code cusolverStatus_t cusolverDnDpotrf_bufferSize(cusolverDnHandle_t handle, cublasFillMode_t
   * fill, int n, double *a, int lda, int *elements)}.
   */
  private static final MethodHandle POTRF_BUFFER_SIZE =
      Downcalls.ofInt(JAVA_LONG, JAVA_INT, JAVA_INT, JAVA_LONG, JAVA_INT, ADDRESS);

  /**
   * {@code cusolverStatus_t cusolverDnDpotrf(cusolverDnHandle_t handle, cublasFillMode_t fill, int
   * n, double *a, int lda, double *workspace, int elements, int *info)}.
   */
  private static final MethodHandle POTRF =
      Downcalls.ofInt(
          JAVA_LONG, JAVA_INT, JAVA_INT, JAVA_LONG, JAVA_INT, JAVA_LONG, JAVA_INT, JAVA_LONG);

  /** Names of the values of {@code cusolverStatus_t}, from 0 on. */
  private static final List<String> STATUS =
      List.of(
          "success",
          "not initialized",
          "allocation failed",
          "invalid value",
          "architecture mismatch",
          "mapping error",
          "execution failed",
          "internal error",
          "matrix type not supported",
          "not supported");

  private final MemorySegment getProperty;
  private final MemorySegment create;
  private final MemorySegment destroy;
  private final MemorySegment setStream;
  private final MemorySegment potrfBufferSize;
  private final MemorySegment potrf;

  /**
   * Binds the functions of a cuSOLVER library.
   *
   * @throws dev.laco.ResourceException if the library lacks a function
   */
  LibCusolver(NativeLibrary library) {
    getProperty = library.function("cusolverGetProperty");
    create = library.function("cusolverDnCreate");
    destroy = library.function("cusolverDnDestroy");
    setStream = library.function("cusolverDnSetStream");
    potrfBufferSize = library.function("cusolverDnDpotrf_bufferSize");
    potrf = library.function("cusolverDnDpotrf");
  }

  int cusolverGetProperty(int type, MemorySegment value) {
    return Downcalls.call(() -> (int) GET_PROPERTY.invokeExact(getProperty, type, value));
  }

  int cusolverDnCreate(MemorySegment handle) {
    return Downcalls.call(() -> (int) CREATE.invokeExact(create, handle));
  }

  int cusolverDnDestroy(long handle) {
    return Downcalls.call(() -> (int) DESTROY.invokeExact(destroy, handle));
  }

  int cusolverDnSetStream(long handle, long stream) {
    return Downcalls.call(() -> (int) SET_STREAM.invokeExact(setStream, handle, stream));
  }

  int cusolverDnDpotrfBufferSize(
      long handle, int fill, int n, long a, int lda, MemorySegment elements) {
    return Downcalls.call(
        () ->
            (int)
                POTRF_BUFFER_SIZE.invokeExact(potrfBufferSize, handle, fill, n, a, lda, elements));
  }

  int cusolverDnDpotrf(
      long handle, int fill, int n, long a, int lda, long workspace, int elements, long info) {
    return Downcalls.call(
        () -> (int) POTRF.invokeExact(potrf, handle, fill, n, a, lda, workspace, elements, info));
  }

  /** The major (0), minor (1) or patch (2) number of the version. */
  int property(int type) {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment value = arena.allocate(JAVA_INT);
      check("cusolverGetProperty", cusolverGetProperty(type, value));
      return value.get(JAVA_INT, 0);
    }
  }

  /** Throws unless the status that the function {@code call} returned is 0. */
  static void check(String call, int status) {
    if (status != 0) {
      String text = status > 0 && status < STATUS.size() ? STATUS.get(status) : "unknown";
      throw new CudaException(call, status, "cuSOLVER status", text);
    }
  }
}
