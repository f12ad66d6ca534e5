package dev.laco.model;

/**
 * Names a tensor of a layer as the forward pass uses it, however a checkpoint stores it.
 *
 * @param role what the forward pass uses it for
 * @param expert index of the expert of a mixture whose role it is, or {@link #NO_EXPERT}
 */
public record LayerPart(LayerRole role, int expert) implements Comparable<LayerPart> {
  /** In the place of an expert's index: the tensor belongs to the layer itself. */
  public static final int NO_EXPERT = -1;

  /** The tensor of a role of the layer itself. */
  public static LayerPart of(LayerRole role) {
    return new LayerPart(role, NO_EXPERT);
  }

  /** By role, and then by expert. */
  @Override
  public int compareTo(LayerPart other) {
    int byRole = role.compareTo(other.role);
    return byRole != 0 ? byRole : Integer.compare(expert, other.expert);
  }
}
