package dev.laco.backend;

import dev.laco.model.DType;

/**
 * A matrix in the memory of a device, contiguous and row-major. A vector is a matrix of one row.
 */
public interface Tensor {
  DType dtype();

  long rows();

  long columns();

  /** Rows {@code [from, to)} as a tensor on the same memory. */
  Tensor slice(long from, long to);

  /** A tensor of other extents on the same memory; the number of elements must be the same. */
  Tensor reshape(long rows, long columns);

  /**
   * The first bytes of this tensor as a tensor of another dtype, for memory that holds activations
   * of 16 bits at one time and of 32 at another.
   */
  Tensor view(DType dtype, long rows, long columns);

  /** Number of elements. */
  default long elements() {
    return rows() * columns();
  }
}
