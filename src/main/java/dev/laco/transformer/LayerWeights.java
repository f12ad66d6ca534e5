package dev.laco.transformer;

import dev.laco.backend.Tensor;
import dev.laco.model.LayerRole;
import dev.laco.model.TensorSpec;
import java.util.EnumMap;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * The weights of one layer on a device.
 *
 * @param tensors by role; biases and query/key norms only where the architecture has them
 */
public record LayerWeights(Map<LayerRole, Tensor> tensors) {
  public LayerWeights {
    tensors = Map.copyOf(tensors);
  }

  /**
   * The weights in the tensors of a layer; a role that has some rows of a tensor gets these rows.
   */
  static LayerWeights of(Map<TensorSpec, Tensor> stored) {
    Map<LayerRole, Tensor> tensors = new EnumMap<>(LayerRole.class);
    stored.forEach(
        (spec, tensor) ->
            spec.parts().forEach(part -> tensors.put(part.role(), part(spec, tensor, part))));
    return new LayerWeights(tensors);
  }

  private static Tensor part(TensorSpec spec, Tensor tensor, TensorSpec.Part part) {
    if (spec.parts().size() == 1) {
      return tensor;
    }
    long count = part.to() - part.from();
    return spec.isMatrix()
        ? tensor.slice(part.from(), part.to())
        : tensor.reshape(tensor.elements(), 1).slice(part.from(), part.to()).reshape(1, count);
  }

  /** The tensor of a role that every layer has. */
  public Tensor get(LayerRole role) {
    Tensor tensor = tensors.get(role);
    if (tensor == null) {
      throw new IllegalStateException("layer without " + role);
    }
    return tensor;
  }

  /** The same layer with some tensors replaced. */
  public LayerWeights with(Map<LayerRole, Tensor> others) {
    Map<LayerRole, Tensor> all = new EnumMap<>(tensors);
    all.putAll(others);
    return new LayerWeights(all);
  }

  /** The tensor of a role that only some architectures have, or null. */
  public @Nullable Tensor find(LayerRole role) {
    return tensors.get(role);
  }
}
