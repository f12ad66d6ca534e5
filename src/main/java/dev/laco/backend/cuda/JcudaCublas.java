package dev.laco.backend.cuda;

import dev.laco.model.DType;
import jcuda.Pointer;
import jcuda.driver.CUdeviceptr;
import jcuda.jcublas.JCublas2;
import jcuda.jcublas.cublasHandle;
import jcuda.runtime.cudaStream_t;

/** cuBLAS 12, called through JCuda. The native library of JCuda works with this version only. */
final class JcudaCublas extends Cublas {
  private static final Pointer ONE = Pointer.to(new float[] {1});
  private static final Pointer TWO = Pointer.to(new float[] {2});
  private static final Pointer ZERO = Pointer.to(new float[] {0});
  private static final Pointer ONE_F64 = Pointer.to(new double[] {1});

  private final cublasHandle handle = new cublasHandle();

  /**
   * @param workspace memory of {@link #WORKSPACE_BYTES} bytes
   * @throws dev.laco.ResourceException if the native library of JCuda does not load
   */
  JcudaCublas(CudaStream stream, DeviceBuffer workspace) {
    JcudaLibraries.load("JCuda's cuBLAS binding", () -> JCublas2.setExceptionsEnabled(false));
    check("cublasCreate", JCublas2.cublasCreate(handle));
    check(
        "cublasSetStream",
        JCublas2.cublasSetStream(handle, JcudaDriver.at(new cudaStream_t(), stream.handle())));
    check(
        "cublasSetWorkspace",
        JCublas2.cublasSetWorkspace(handle, address(workspace.address()), workspace.bytes()));
    check("cublasSetMathMode", JCublas2.cublasSetMathMode(handle, F32_REDUCTION));
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
    check(
        "cublasGemmEx",
        JCublas2.cublasGemmEx_new(
            handle,
            opA,
            opB,
            m,
            n,
            k,
            twice ? TWO : ONE,
            address(a),
            factors,
            lda,
            address(b),
            factors,
            ldb,
            adds ? ONE : ZERO,
            address(c),
            Cublas.code(type),
            ldc,
            COMPUTE_F32,
            DEFAULT_ALGORITHM));
  }

  @Override
  void trsm(int op, int n, int r, long a, long b) {
    check(
        "cublasDtrsm",
        JCublas2.cublasDtrsm(
            handle, LEFT, UPPER, op, NON_UNIT, n, r, ONE_F64, address(a), n, address(b), n));
  }

  @Override
  public void close() {
    check("cublasDestroy", JCublas2.cublasDestroy(handle));
  }

  private static CUdeviceptr address(long value) {
    return JcudaDriver.at(new CUdeviceptr(), value);
  }

  private static void check(String call, int status) {
    if (status != 0) {
      throw new CudaException(
          call,
          status,
          JCublas2.cublasGetStatusName(status),
          JCublas2.cublasGetStatusString(status));
    }
  }
}
