package dev.laco.backend.cuda;

import static java.lang.foreign.ValueLayout.JAVA_DOUBLE;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import dev.laco.model.DType;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/** cuBLAS through the JDK's foreign functions. */
final class FfmCublas extends Cublas {
  private final LibCublas cublas;
  private final MemorySegment one;
  private final MemorySegment two;
  private final MemorySegment zero;
  private final MemorySegment oneF64;
  private final long handle;

  /**
   * @param workspace memory of {@link #WORKSPACE_BYTES} bytes
   */
  FfmCublas(LibCublas cublas, CudaStream stream, DeviceBuffer workspace) {
    this.cublas = cublas;
    this.one = stream.context().arena().allocateFrom(JAVA_FLOAT, 1);
    this.two = stream.context().arena().allocateFrom(JAVA_FLOAT, 2);
    this.zero = stream.context().arena().allocateFrom(JAVA_FLOAT, 0);
    this.oneF64 = stream.context().arena().allocateFrom(JAVA_DOUBLE, 1);
    try (Arena memory = Arena.ofConfined()) {
      MemorySegment out = memory.allocate(JAVA_LONG);
      cublas.check("cublasCreate", cublas.cublasCreate(out));
      this.handle = out.get(JAVA_LONG, 0);
    }
    cublas.check("cublasSetStream", cublas.cublasSetStream(handle, stream.handle()));
    cublas.check(
        "cublasSetWorkspace",
        cublas.cublasSetWorkspace(handle, workspace.address(), workspace.bytes()));
    cublas.check("cublasSetMathMode", cublas.cublasSetMathMode(handle, F32_REDUCTION));
  }

  @Override
  void gemm(
      DType dtype,
      int opA,
      int opB,
      int m,
      int n,
      int k,
      boolean twice,
      long a,
      int lda,
      long b,
      int ldb,
      boolean adds,
      DType type,
      long c,
      int ldc) {
    int factors = Cublas.code(dtype);
    cublas.check(
        "cublasGemmEx",
        cublas.cublasGemmEx(
            handle,
            opA,
            opB,
            m,
            n,
            k,
            twice ? two : one,
            a,
            factors,
            lda,
            b,
            factors,
            ldb,
            adds ? one : zero,
            c,
            Cublas.code(type),
            ldc,
            COMPUTE_F32,
            DEFAULT_ALGORITHM));
  }

  @Override
  void trsm(int op, int n, int r, long a, long b) {
    cublas.check(
        "cublasDtrsm",
        cublas.cublasDtrsm(handle, LEFT, UPPER, op, NON_UNIT, n, r, oneF64, a, n, b, n));
  }

  @Override
  public void close() {
    cublas.check("cublasDestroy", cublas.cublasDestroy(handle));
  }
}
