package dev.laco.backend.cuda;

import dev.laco.model.DType;

/**
 * Matrix products and triangular systems by cuBLAS on one stream, with a workspace of ours: with
 * more streams or its own workspace cuBLAS may choose differently from run to run.
 */
interface Cublas extends AutoCloseable {
  /** What NVIDIA recommends for Hopper; older cards use a part of it. */
  long WORKSPACE_BYTES = 32L << 20;

  /** {@code CUBLAS_OP_T}. */
  int TRANSPOSED = 1;

  /** {@code CUBLAS_OP_N}. */
  int AS_IT_IS = 0;

  /** {@code CUBLAS_SIDE_LEFT}. */
  int LEFT = 0;

  /** {@code CUBLAS_FILL_MODE_UPPER}: our lower triangle, in a library that counts by columns. */
  int UPPER = 1;

  /** {@code CUBLAS_DIAG_NON_UNIT}. */
  int NON_UNIT = 0;

  /** {@code CUBLAS_COMPUTE_32F}: f32 sums, and for f32 inputs no TF32. */
  int COMPUTE_F32 = 68;

  /** {@code CUBLAS_GEMM_DEFAULT}. */
  int DEFAULT_ALGORITHM = -1;

  /**
   * {@code out = x weight^T} in f32 sums: {@code x [rows, in]}, {@code weight [width, in]}, both of
   * {@code dtype}; {@code out [rows, width]} f32 with rows {@code outStride} apart. The arguments
   * are device addresses.
   */
  void product(
      DType dtype, int rows, int width, int in, long x, long weight, long out, int outStride);

  /**
   * {@code out += a^T b} in f32 sums: {@code a [rows, m]}, {@code b [rows, n]}, both of {@code
   * dtype}; {@code out [m, n]} f32. The arguments are device addresses.
   */
  void addCrossProduct(DType dtype, int rows, int m, int n, long a, long b, long out);

  /**
   * Solves in place for the rows of {@code b [r, n]} with the factor {@code L} in the lower
   * triangle of {@code a [n, n]}, all f64: {@code L x = b} first, then {@code L^T x = b}. The
   * arguments are device addresses.
   */
  void solveTriangular(int n, int r, long a, long b, boolean first);

  @Override
  void close();

  /** {@code cudaDataType}. */
  static int code(DType dtype) {
    return switch (dtype) {
      case F32 -> 0;
      case F16 -> 2;
      case BF16 -> 14;
    };
  }
}
