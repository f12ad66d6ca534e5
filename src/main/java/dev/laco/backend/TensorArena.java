package dev.laco.backend;

import dev.laco.model.DType;

/**
 * Owner of tensors in the memory of a device: closing the arena frees the tensors that it
 * allocated.
 */
public interface TensorArena extends AutoCloseable {
  /**
   * A tensor of zeros.
   *
   * @throws dev.laco.ResourceException if there is too little memory
   */
  Tensor allocate(DType dtype, long rows, long columns);

  @Override
  void close();
}
