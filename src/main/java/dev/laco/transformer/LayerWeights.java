package dev.laco.transformer;

import dev.laco.backend.Tensor;
import dev.laco.model.LayerRole;
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
