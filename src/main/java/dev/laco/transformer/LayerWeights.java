package dev.laco.transformer;

import dev.laco.backend.Tensor;
import dev.laco.model.LayerRole;
import dev.laco.model.TensorSpec;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.TreeMap;
import org.jspecify.annotations.Nullable;

/**
 * The weights of one layer on a device.
 *
 * @param tensors by role; biases and query/key norms only where the architecture has them
 * @param experts the gate, up and down projections of each expert of a mixture; empty where the
 *     layer has one feed-forward network
 */
public record LayerWeights(Map<LayerRole, Tensor> tensors, List<LayerWeights> experts) {
  public LayerWeights {
    tensors = Map.copyOf(tensors);
    experts = List.copyOf(experts);
  }

  /**
   * The weights in the tensors of a layer; a role that has some rows of a tensor gets these rows.
   */
  public static LayerWeights of(Map<TensorSpec, Tensor> stored) {
    Map<Integer, Map<LayerRole, Tensor>> owners = new TreeMap<>();
    stored.forEach(
        (spec, tensor) ->
            spec.parts()
                .forEach(
                    part ->
                        owners
                            .computeIfAbsent(
                                part.expert(), expert -> new EnumMap<>(LayerRole.class))
                            .put(part.role(), part(spec, tensor, part))));
    Map<LayerRole, Tensor> own = Objects.requireNonNull(owners.remove(TensorSpec.NO_EXPERT));
    return new LayerWeights(
        own, owners.values().stream().map(one -> new LayerWeights(one, List.of())).toList());
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
    return new LayerWeights(all, experts);
  }

  /** The tensor of a role that only some architectures have, or null. */
  public @Nullable Tensor find(LayerRole role) {
    return tensors.get(role);
  }
}
