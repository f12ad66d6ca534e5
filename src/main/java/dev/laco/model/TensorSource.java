package dev.laco.model;

/** Gives tensors by name: a checkpoint, or what a test makes up. */
public interface TensorSource {
  /**
   * The tensor of this name.
   *
   * @throws dev.laco.BadInputException if there is none, or its file changed since it was opened
   */
  HostTensor tensor(String name);
}
