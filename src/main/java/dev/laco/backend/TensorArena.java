package dev.laco.backend;

import dev.laco.model.DType;

/** Owns tensors in a backend's memory; closing it frees them all. */
public interface TensorArena extends AutoCloseable {
  /**
   * A tensor of zeros.
   *
   * @throws dev.laco.ResourceException if the memory is not there
   */
  Tensor allocate(DType dtype, long rows, long columns);

  @Override
  void close();
}
