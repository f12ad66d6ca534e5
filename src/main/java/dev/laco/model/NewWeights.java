package dev.laco.model;

import java.util.Collections;
import java.util.SortedMap;
import java.util.TreeMap;
import org.jspecify.annotations.Nullable;

/**
 * Tensors of a pruned model that were computed, by the names that they have in it: each stands in
 * the place of what the plan's mix would give. Their memory is their maker's, and must not change
 * once they have been used: a device keeps its copy.
 *
 * @param tensors in the dtype of the tensors that they replace
 */
public record NewWeights(SortedMap<String, HostTensor> tensors) {
  /** Nothing is replaced. */
  public static final NewWeights NONE = new NewWeights(new TreeMap<>());

  public NewWeights {
    tensors = Collections.unmodifiableSortedMap(new TreeMap<>(tensors));
    tensors.forEach(
        (name, tensor) -> {
          if (!tensor.name().equals(name)) {
            throw new IllegalArgumentException(name + " is the tensor " + tensor.name());
          }
        });
  }

  public boolean isEmpty() {
    return tensors.isEmpty();
  }

  /** The tensor of this name in the pruned model, or null where the mix stands. */
  public @Nullable HostTensor find(String name) {
    return tensors.get(name);
  }

  /** These and one more, which takes the place of one of its name. */
  public NewWeights with(HostTensor tensor) {
    SortedMap<String, HostTensor> more = new TreeMap<>(tensors);
    more.put(tensor.name(), tensor);
    return new NewWeights(more);
  }
}
