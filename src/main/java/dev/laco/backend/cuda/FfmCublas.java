package dev.laco.backend.cuda;

import static java.lang.foreign.ValueLayout.JAVA_DOUBLE;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import dev.laco.model.DType;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/** cuBLAS through the JDK's foreign functions. */
final class FfmCublas implements Cublas {
  private final LibCublas cublas;
  private final MemorySegment one;
  private final MemorySegment zero;
  private final MemorySegment oneF64;
  private final long handle;

  /**
   * @param workspace of {@link #WORKSPACE_BYTES}
   */
  FfmCublas(LibCublas cublas, CudaStream stream, DeviceBuffer workspace) {
    this.cublas = cublas;
    this.one = stream.context().arena().allocateFrom(JAVA_FLOAT, 1);
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
  }

  @Override
  public void product(
      DType dtype, int rows, int width, int in, long x, long weight, long out, int outStride) {
    // cuBLAS sees a row-major matrix as the transposed of what it is: it makes out^T = weight x^T.
    int type = Cublas.code(dtype);
    cublas.check(
        "cublasGemmEx",
        cublas.cublasGemmEx(
            handle,
            TRANSPOSED,
            AS_IT_IS,
            width,
            rows,
            in,
            one,
            weight,
            type,
            in,
            x,
            type,
            in,
            zero,
            out,
            Cublas.code(DType.F32),
            outStride,
            COMPUTE_F32,
            DEFAULT_ALGORITHM));
  }

  @Override
  public void addCrossProduct(DType dtype, int rows, int m, int n, long a, long b, long out) {
    // Likewise out^T += b^T a.
    int type = Cublas.code(dtype);
    cublas.check(
        "cublasGemmEx",
        cublas.cublasGemmEx(
            handle,
            AS_IT_IS,
            TRANSPOSED,
            n,
            m,
            rows,
            one,
            b,
            type,
            n,
            a,
            type,
            m,
            one,
            out,
            Cublas.code(DType.F32),
            n,
            COMPUTE_F32,
            DEFAULT_ALGORITHM));
  }

  @Override
  public void solveTriangular(int n, int r, long a, long b, boolean first) {
    int operation = first ? TRANSPOSED : AS_IT_IS;
    cublas.check(
        "cublasDtrsm",
        cublas.cublasDtrsm(handle, LEFT, UPPER, operation, NON_UNIT, n, r, oneF64, a, n, b, n));
  }

  @Override
  public void close() {
    cublas.check("cublasDestroy", cublas.cublasDestroy(handle));
  }
}
