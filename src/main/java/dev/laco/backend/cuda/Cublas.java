package dev.laco.backend.cuda;

import dev.laco.model.DType;

/**
 * Matrix products and triangular systems by cuBLAS on one stream, with a workspace of ours: with
 * more streams or its own workspace cuBLAS may choose differently from run to run.
 */
abstract class Cublas implements AutoCloseable {
  /** What NVIDIA recommends for Hopper; older cards use a part of it. */
  static final long WORKSPACE_BYTES = 32L << 20;

  /** {@code CUBLAS_OP_T}. */
  static final int TRANSPOSED = 1;

  /** {@code CUBLAS_OP_N}. */
  static final int AS_IT_IS = 0;

  /** {@code CUBLAS_SIDE_LEFT}. */
  static final int LEFT = 0;

  /** {@code CUBLAS_FILL_MODE_UPPER}: our lower triangle, in a library that counts by columns. */
  static final int UPPER = 1;

  /** {@code CUBLAS_DIAG_NON_UNIT}. */
  static final int NON_UNIT = 0;

  /** {@code CUBLAS_COMPUTE_32F}: f32 sums, and for f32 inputs no TF32. */
  static final int COMPUTE_F32 = 68;

  /** {@code CUBLAS_GEMM_DEFAULT}. */
  static final int DEFAULT_ALGORITHM = -1;

  /**
   * {@code out = x weight^T} in f32 sums: {@code x [rows, in]}, {@code weight [width, in]}, both of
   * {@code dtype}; {@code out [rows, width]} f32 with rows {@code outStride} apart. The arguments
   * are device addresses.
   */
  final void product(
      DType dtype, int rows, int width, int in, long x, long weight, long out, int outStride) {
    // cuBLAS sees a row-major matrix as the transposed of what it is: it makes out^T = weight x^T.
    gemm(dtype, TRANSPOSED, AS_IT_IS, width, rows, in, weight, in, x, in, false, out, outStride);
  }

  /**
   * {@code out += a^T b} in f32 sums: {@code a [rows, m]}, {@code b [rows, n]}, both of {@code
   * dtype}; {@code out [m, n]} f32. The arguments are device addresses.
   */
  final void addCrossProduct(DType dtype, int rows, int m, int n, long a, long b, long out) {
    // Likewise out^T += b^T a.
    gemm(dtype, AS_IT_IS, TRANSPOSED, n, m, rows, b, n, a, m, true, out, n);
  }

  /**
   * Solves in place for the rows of {@code b [r, n]} with the factor {@code L} in the lower
   * triangle of {@code a [n, n]}, all f64: {@code L x = b} first, then {@code L^T x = b}. The
   * arguments are device addresses.
   */
  final void solveTriangular(int n, int r, long a, long b, boolean first) {
    trsm(first ? TRANSPOSED : AS_IT_IS, n, r, a, b);
  }

  /**
   * {@code cublasGemmEx} with f32 sums, of matrices by columns: {@code c = opA(a) opB(b)}, {@code c
   * [m, n]} in f32, {@code opA(a) [m, k]} and {@code opB(b) [k, n]} of {@code dtype}.
   *
   * @param lda elements from a column of {@code a} to the next; likewise the others
   * @param adds whether the product is added to what {@code c} holds
   */
  abstract void gemm(
      DType dtype,
      int opA,
      int opB,
      int m,
      int n,
      int k,
      long a,
      int lda,
      long b,
      int ldb,
      boolean adds,
      long c,
      int ldc);

  /**
   * {@code cublasDtrsm} with the upper triangle of {@code a [n, n]} on the left, by columns: solves
   * {@code op(a) x = b} in place, {@code b [n, r]}.
   */
  abstract void trsm(int op, int n, int r, long a, long b);

  @Override
  public abstract void close();

  /** {@code cudaDataType}. */
  static int code(DType dtype) {
    return switch (dtype) {
      case F32 -> 0;
      case F16 -> 2;
      case BF16 -> 14;
    };
  }
}
