package dev.laco.collapse;

import dev.laco.model.TensorGroup;

/**
 * One surviving layer as linear combinations of original layers, one for each tensor group.
 *
 * @param base original index of the layer that survives: it gives the attention type and the place
 */
public record LayerMix(
    int base, Coefficients attention, Coefficients feedForward, Coefficients norms) {

  /** The original layer {@code layer}, unchanged. */
  public static LayerMix original(int layer) {
    Coefficients same = Coefficients.of(layer);
    return new LayerMix(layer, same, same, same);
  }

  /** The combination that makes the tensors of a group. */
  public Coefficients of(TensorGroup group) {
    return switch (group) {
      case ATTENTION -> attention;
      case FEED_FORWARD -> feedForward;
      case NORMS -> norms;
    };
  }

  /** How many original layers its tensors are made of, at most. */
  public int sources() {
    return Math.max(
        Math.max(attention.terms().size(), feedForward.terms().size()), norms.terms().size());
  }

  /** The last original layer that is needed. */
  public int lastSource() {
    return Math.max(
        Math.max(attention.terms().lastKey(), feedForward.terms().lastKey()),
        norms.terms().lastKey());
  }

  /** True if every tensor is that of original layer {@code layer}, and so is the attention type. */
  public boolean isOriginal(int layer) {
    return base == layer
        && attention.isCopyOf(layer)
        && feedForward.isCopyOf(layer)
        && norms.isCopyOf(layer);
  }
}
