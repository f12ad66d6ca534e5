package dev.laco.backend.cuda;

import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/**
 * Cholesky factorisation by cuSOLVER on one stream. With either binding cuSOLVER is called through
 * the JDK's foreign functions, which work with every version; a factorisation takes so long that
 * the cost of a call does not matter.
 */
final class Cusolver implements AutoCloseable {
  /**
   * {@code CUBLAS_FILL_MODE_UPPER}: the lower triangle of our row-major matrices is the upper
   * triangle to cuSOLVER, which stores matrices by columns.
   */
  private static final int UPPER = 1;

  private final LibCusolver cusolver;
  private final long handle;

  Cusolver(LibCusolver cusolver, CudaStream stream) {
    this.cusolver = cusolver;
    try (Arena memory = Arena.ofConfined()) {
      MemorySegment out = memory.allocate(JAVA_LONG);
      LibCusolver.check("cusolverDnCreate", cusolver.cusolverDnCreate(out));
      this.handle = out.get(JAVA_LONG, 0);
    }
    LibCusolver.check("cusolverDnSetStream", cusolver.cusolverDnSetStream(handle, stream.handle()));
  }

  /** How many f64 elements the workspace of {@link #factor} has. */
  int workspace(int n) {
    try (Arena memory = Arena.ofConfined()) {
      MemorySegment out = memory.allocate(JAVA_INT);
      // The function does not read the matrix.
      LibCusolver.check(
          "cusolverDnDpotrf_bufferSize",
          cusolver.cusolverDnDpotrfBufferSize(handle, UPPER, n, 0, n, out));
      return out.get(JAVA_INT, 0);
    }
  }

  /**
   * Factors {@code a [n, n]} in place, of which the lower triangle is read. The arguments are
   * device addresses.
   *
   * @param info address of an i32 that becomes 0, or the order of the smallest leading minor that
   *     is not positive
   */
  void factor(int n, long a, long workspace, int elements, long info) {
    LibCusolver.check(
        "cusolverDnDpotrf",
        cusolver.cusolverDnDpotrf(handle, UPPER, n, a, n, workspace, elements, info));
  }

  @Override
  public void close() {
    LibCusolver.check("cusolverDnDestroy", cusolver.cusolverDnDestroy(handle));
  }
}
