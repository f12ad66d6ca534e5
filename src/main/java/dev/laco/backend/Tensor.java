package dev.laco.backend;

import dev.laco.model.DType;

/** A contiguous row-major matrix in a backend's memory. A vector has one row. */
public interface Tensor {
  DType dtype();

  long rows();

  long columns();

  /** Rows {@code [from, to)} of the same memory. */
  Tensor slice(long from, long to);

  /** The same memory, seen with other extents of the same product. */
  Tensor reshape(long rows, long columns);

  /** Number of elements. */
  default long elements() {
    return rows() * columns();
  }
}
