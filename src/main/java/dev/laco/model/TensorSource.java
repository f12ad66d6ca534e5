package dev.laco.model;

import java.util.List;

/** Gives tensors by name: a checkpoint, or what a test makes up. */
public interface TensorSource {
  /**
   * The tensor of this name, valid until {@link #release}.
   *
   * @throws dev.laco.BadInputException if there is none, or its file changed since it was opened
   */
  HostTensor tensor(String name);

  /** Bytes of the tensor of this name. */
  default long byteSize(String name) {
    return tensor(name).data().byteSize();
  }

  /**
   * Says that these tensors will be asked for soon: a source may begin to bring them into memory
   * while others are computed with. Changes no result.
   */
  default void prefetch(List<String> names) {}

  /** Whether all of these can be in use at the same time. */
  default boolean fits(List<String> names) {
    return true;
  }

  /**
   * Says that no tensor that was asked for until now is in use any more: a source may give up the
   * room that they take, here and on the device, until they are asked for again. Changes no result.
   *
   * @throws dev.laco.BadInputException if a file lost some of what was read of it
   */
  default void release() {}
}
