package dev.laco.model;

import java.util.List;

/**
 * A tensor of a layer as checkpoints store it. Most tensors have one role in the forward pass. A
 * fused matrix has several, each in rows of its own.
 *
 * @param suffix the name behind the number of the layer
 * @param shape expected extents; a tensor of all experts of a mixture has their number before the
 *     rows and columns of one expert
 * @param parts the roles, all of one {@link TensorGroup}, from the first row to the last
 */
public record TensorSpec(String suffix, List<Long> shape, List<Part> parts) {
  /**
   * Rows {@code [from, to)} of a stored tensor; of a vector, its elements. In a tensor of all
   * experts the rows of one expert follow those of another.
   *
   * @param layerPart what the rows are in the forward pass
   */
  public record Part(LayerPart layerPart, long from, long to) {
    /** What the forward pass uses the rows for. */
    public LayerRole role() {
      return layerPart.role();
    }

    /** Index of the expert whose role it is, or {@link LayerPart#NO_EXPERT}. */
    public int expert() {
      return layerPart.expert();
    }
  }

  public TensorSpec {
    shape = List.copyOf(shape);
    parts = List.copyOf(parts);
    if (parts.stream().map(part -> part.role().group()).distinct().count() != 1) {
      throw new IllegalArgumentException(suffix + " has parts of several groups: " + parts);
    }
  }

  /** The part of the layer to which a merge counts the tensor. */
  public TensorGroup group() {
    return parts.getFirst().role().group();
  }

  /** Whether the tensor, or some of its rows, has this role. */
  public boolean has(LayerRole role) {
    return parts.stream().anyMatch(part -> part.role() == role);
  }

  /** The rows of a role that the tensor {@link #has}. */
  public Part part(LayerRole role) {
    return parts.stream().filter(part -> part.role() == role).findFirst().orElseThrow();
  }

  /** Whether a layer uses the tensor as weights of linear layers alone. */
  public boolean isLinear() {
    return parts.stream().allMatch(part -> part.role().isLinear());
  }

  /** Whether the tensor is a matrix, not a vector. */
  public boolean isMatrix() {
    return shape.size() > 1;
  }

  /** Number of elements. */
  public long elements() {
    return shape.stream().reduce(1L, (a, b) -> a * b);
  }
}
