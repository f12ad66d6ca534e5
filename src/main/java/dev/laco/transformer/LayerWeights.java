package dev.laco.transformer;

import dev.laco.backend.Tensor;
import dev.laco.model.LayerPart;
import dev.laco.model.LayerRole;
import dev.laco.model.TensorSpec;
import java.util.EnumMap;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.SortedMap;
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
    Map<LayerPart, Tensor> parts = new HashMap<>();
    stored.forEach(
        (spec, tensor) ->
            spec.parts().forEach(part -> parts.put(part.layerPart(), part(spec, tensor, part))));
    return ofParts(parts);
  }

  /** The weights of these names. */
  public static LayerWeights ofParts(Map<LayerPart, Tensor> parts) {
    SortedMap<Integer, Map<LayerRole, Tensor>> owners = new TreeMap<>();
    parts.forEach(
        (part, tensor) ->
            owners
                .computeIfAbsent(part.expert(), expert -> new EnumMap<>(LayerRole.class))
                .put(part.role(), tensor));
    Map<LayerRole, Tensor> own = Objects.requireNonNull(owners.remove(LayerPart.NO_EXPERT));
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

  /** All tensors by their names, those of experts, too. */
  public SortedMap<LayerPart, Tensor> parts() {
    SortedMap<LayerPart, Tensor> parts = new TreeMap<>();
    tensors.forEach((role, tensor) -> parts.put(LayerPart.of(role), tensor));
    for (int expert = 0; expert < experts.size(); expert++) {
      for (Map.Entry<LayerRole, Tensor> own : experts.get(expert).tensors.entrySet()) {
        parts.put(new LayerPart(own.getKey(), expert), own.getValue());
      }
    }
    return parts;
  }

  /** The tensor of a role that every layer has. */
  public Tensor get(LayerRole role) {
    Tensor tensor = tensors.get(role);
    if (tensor == null) {
      throw new IllegalStateException("layer without " + role);
    }
    return tensor;
  }

  /** The tensor of a name that the layer has. */
  public Tensor get(LayerPart part) {
    return part.expert() == LayerPart.NO_EXPERT
        ? get(part.role())
        : experts.get(part.expert()).get(part.role());
  }

  /** The same layer with some tensors replaced. */
  public LayerWeights with(Map<LayerPart, Tensor> others) {
    Map<LayerPart, Tensor> all = parts();
    all.putAll(others);
    return ofParts(all);
  }

  /** The tensor of a role that only some architectures have, or null. */
  public @Nullable Tensor find(LayerRole role) {
    return tensors.get(role);
  }
}
