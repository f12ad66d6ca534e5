package dev.laco.model;

import java.util.Collections;
import java.util.List;
import java.util.SortedMap;
import java.util.TreeMap;
import org.jspecify.annotations.Nullable;

/**
 * Tensors of a pruned model that a fit computed. Each takes the place of the tensor that the plan's
 * mix would give. Whoever made the tensors owns their memory, which must not change once a device
 * has used them, since the device keeps a copy.
 *
 * @param tensors by their names in the pruned model, in the dtype of the tensors that they replace
 */
public record NewWeights(SortedMap<String, HostTensor> tensors) {
  /** No tensors. */
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

  /** Whether there are no tensors. */
  public boolean isEmpty() {
    return tensors.isEmpty();
  }

  /** The tensor of this name in the pruned model, or null where the plan's mix gives it. */
  public @Nullable HostTensor find(String name) {
    return tensors.get(name);
  }

  /** These tensors and one more, which replaces a tensor of the same name. */
  public NewWeights with(HostTensor tensor) {
    return with(List.of(tensor));
  }

  /** These tensors and more, which replace tensors of the same names. */
  public NewWeights with(List<HostTensor> others) {
    SortedMap<String, HostTensor> more = new TreeMap<>(tensors);
    others.forEach(tensor -> more.put(tensor.name(), tensor));
    return new NewWeights(more);
  }
}
