package dev.laco.model;

import java.util.List;

/**
 * A tensor that every layer of a model has.
 *
 * @param role the role of the tensor in the forward pass
 * @param suffix the name behind {@code model.layers.<i>.}
 * @param shape expected extents
 */
public record TensorSpec(LayerRole role, String suffix, List<Long> shape) {
  public TensorSpec {
    shape = List.copyOf(shape);
  }

  /** Number of elements. */
  public long elements() {
    return shape.stream().reduce(1L, (a, b) -> a * b);
  }
}
