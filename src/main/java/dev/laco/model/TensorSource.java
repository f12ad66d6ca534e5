package dev.laco.model;

import java.util.List;

/** Gives tensors by name. */
public interface TensorSource {
  /**
   * The tensor of this name, valid until {@link #release}.
   *
   * @throws dev.laco.BadInputException if there is no such tensor, or its file changed since it was
   *     opened
   */
  HostTensor tensor(String name);

  /** Bytes of the tensor of this name. */
  default long byteSize(String name) {
    return tensor(name).data().byteSize();
  }

  /**
   * Says that these tensors will be asked for soon. A source may read them into memory while other
   * tensors are in use. Changes no result.
   */
  default void prefetch(List<String> names) {}

  /** Whether memory suffices to use all of these tensors at the same time. */
  default boolean fits(List<String> names) {
    return true;
  }

  /** Bytes of the memory for weights that would be left if all weights were in it. */
  default long spare() {
    return 0;
  }

  /**
   * Says that no tensor that was asked for until now is in use any more. A source may free their
   * memory, in this process and on the device, until they are asked for again. Changes no result.
   *
   * @throws dev.laco.BadInputException if a file was cut short and bytes that were read are missing
   */
  default void release() {}
}
