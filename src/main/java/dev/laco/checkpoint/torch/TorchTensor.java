package dev.laco.checkpoint.torch;

import dev.laco.checkpoint.table.StoredType;
import java.util.List;

/**
 * A tensor as a pickle of {@code torch.save} describes it. Nothing of it is checked yet.
 *
 * @param storage the storage in which it lies
 * @param offset its first element, counted from the start of the storage
 * @param shape extents, outermost first
 * @param strides of each extent, the distance of neighbours in elements
 */
record TorchTensor(Storage storage, long offset, List<Long> shape, List<Long> strides) {
  TorchTensor {
    shape = List.copyOf(shape);
    strides = List.copyOf(strides);
  }

  /**
   * A storage, which several tensors may share.
   *
   * @param key its name in the archive
   * @param elements their number
   */
  record Storage(StoredType type, String key, long elements) {}
}
