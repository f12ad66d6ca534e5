package dev.laco.model;

import java.util.List;
import java.util.Optional;

/** The extents of a checkpoint's tensors. */
@FunctionalInterface
public interface StoredShapes {
  /** Those of a tensor, outermost first; empty where the checkpoint has none of this name. */
  Optional<List<Long>> of(String tensor);

  /** Whether the checkpoint has a tensor. */
  default boolean have(String tensor) {
    return of(tensor).isPresent();
  }
}
