package dev.laco.backend.cuda;

import dev.laco.model.DType;

/**
 * Matrix products and triangular systems by cuBLAS. One stream and a workspace that we allocate
 * make cuBLAS choose the same algorithm in every run.
 */
abstract class Cublas implements AutoCloseable {
  /**
   * Size of the workspace: what NVIDIA recommends for Hopper cards. Older cards use a part of it.
   */
  static final long WORKSPACE_BYTES = 32L << 20;

  /** {@code CUBLAS_OP_T}. */
  static final int TRANSPOSED = 1;

  /** {@code CUBLAS_OP_N}. */
  static final int AS_IT_IS = 0;

  /** {@code CUBLAS_SIDE_LEFT}. */
  static final int LEFT = 0;

  /**
   * {@code CUBLAS_FILL_MODE_UPPER}: the lower triangle of our row-major matrices is the upper
   * triangle to cuBLAS, which stores matrices by columns.
   */
  static final int UPPER = 1;

  /** {@code CUBLAS_DIAG_NON_UNIT}. */
  static final int NON_UNIT = 0;

  /** {@code CUBLAS_COMPUTE_32F}: f32 sums, and for f32 inputs no TF32. */
  static final int COMPUTE_F32 = 68;

  /**
   * {@code CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION}: a product that is written in 16 bits
   * is summed in f32 and rounded once.
   */
  static final int F32_REDUCTION = 16;

  /** {@code CUBLAS_GEMM_DEFAULT}. */
  static final int DEFAULT_ALGORITHM = -1;

  /**
   * {@code out = x weight^T} in f32 sums: {@code x [rows, in]}, {@code weight [width, in]}, both of
   * {@code dtype}; {@code out [rows, width]} with rows {@code outStride} apart. The arguments are
   * device addresses.
   *
   * @param type of {@code out}: f32 or {@code dtype}
   */
  final void product(
      DType dtype,
      int rows,
      int width,
      int in,
      long x,
      long weight,
      DType type,
      long out,
      int outStride) {
    // cuBLAS stores by columns and takes a row-major matrix for its transpose. So it computes out^T
    // = weight x^T.
    gemm(
        dtype,
        TRANSPOSED,
        AS_IT_IS,
        width,
        rows,
        in,
        false,
        weight,
        in,
        x,
        in,
        false,
        type,
        out,
        outStride);
  }

  /**
   * {@code out = gradient weight}, or {@code out += gradient weight}, in f32 sums: {@code gradient
   * [rows, width]} with rows {@code stride} apart and {@code weight [width, in]}, both of {@code
   * dtype}; {@code out [rows, in]} f32. The arguments are device addresses.
   */
  final void backProduct(
      DType dtype,
      int rows,
      int width,
      int in,
      long gradient,
      int stride,
      long weight,
      boolean adds,
      long out) {
    // For the same reason out^T = weight^T gradient^T, and to cuBLAS both are transposed already.
    gemm(
        dtype, AS_IT_IS, AS_IT_IS, in, rows, width, false, weight, in, gradient, stride, adds,
        DType.F32, out, in);
  }

  /**
   * {@code out += a^T b} in f32 sums: {@code a [rows, m]}, {@code b [rows, n]}, both of {@code
   * dtype}; {@code out [m, n]} f32. The arguments are device addresses.
   */
  final void addCrossProduct(DType dtype, int rows, int m, int n, long a, long b, long out) {
    // For the same reason out^T += b^T a.
    gemm(dtype, AS_IT_IS, TRANSPOSED, n, m, rows, false, b, n, a, m, true, DType.F32, out, n);
  }

  /**
   * {@code out += a^T b}: {@code a [rows, m]}, {@code b [rows, n]}, the first columns of {@code a},
   * and {@code out [m, n]} have rows {@code stride} apart.
   */
  final void addGramPanel(DType dtype, int rows, int m, int n, int stride, long a, long out) {
    gemm(
        dtype,
        AS_IT_IS,
        TRANSPOSED,
        n,
        m,
        rows,
        false,
        a,
        stride,
        a,
        stride,
        true,
        DType.F32,
        out,
        stride);
  }

  /**
   * {@code out = x y}, or twice that, or {@code out += x y}, of blocks of f32 matrices: {@code x
   * [rows, in]}, {@code y [in, width]} and {@code out [rows, width]} have rows {@code stride}
   * apart.
   */
  final void blockProduct(
      int rows,
      int in,
      int width,
      int stride,
      boolean twice,
      long x,
      long y,
      boolean adds,
      long out) {
    gemm(
        DType.F32, AS_IT_IS, AS_IT_IS, width, rows, in, twice, y, stride, x, stride, adds,
        DType.F32, out, stride);
  }

  /**
   * {@code out = x y^T} of blocks of f32 matrices: {@code x [rows, in]}, {@code y [width, in]} and
   * {@code out [rows, width]} have rows {@code stride} apart.
   */
  final void blockCrossProduct(int rows, int in, int width, int stride, long x, long y, long out) {
    gemm(
        DType.F32,
        TRANSPOSED,
        AS_IT_IS,
        width,
        rows,
        in,
        false,
        y,
        stride,
        x,
        stride,
        false,
        DType.F32,
        out,
        stride);
  }

  /**
   * Solves a triangular system in place for each row of {@code b [r, n]}, in f64: {@code L x = b},
   * the first step after a Cholesky factorisation, or else {@code L^T x = b}, the second. {@code L}
   * is the lower triangle of {@code a [n, n]}. {@code a} and {@code b} are device addresses.
   */
  final void solveTriangular(int n, int r, long a, long b, boolean first) {
    trsm(first ? TRANSPOSED : AS_IT_IS, n, r, a, b);
  }

  /**
   * Calls {@code cublasGemmEx} with f32 sums, on matrices that are stored by columns: {@code c =
   * opA(a) opB(b)}, where {@code opA(a) [m, k]} and {@code opB(b) [k, n]} have the given dtype.
   *
   * @param twice whether the product counts twice
   * @param lda elements from one column of {@code a} to the next; {@code ldb} and {@code ldc} are
   *     those of {@code b} and {@code c}
   * @param adds whether the product is added to what {@code c} holds
   * @param type of {@code c [m, n]}: f32 or {@code dtype}
   */
  abstract void gemm(
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
      int ldc);

  /**
   * Calls {@code cublasDtrsm}, on matrices that are stored by columns: solves {@code op(a) x = b}
   * in place, where {@code a} is the upper triangle of an {@code [n, n]} and {@code b} is {@code
   * [n, r]}.
   */
  abstract void trsm(int op, int n, int r, long a, long b);

  @Override
  public abstract void close();

  /** The {@code cudaDataType} of a dtype. */
  static int code(DType dtype) {
    return switch (dtype) {
      case F32 -> 0;
      case F16 -> 2;
      case BF16 -> 14;
    };
  }
}
