package dev.laco.collapse;

import dev.laco.model.TensorGroup;

/**
 * One layer of a pruned model: a linear combination of original layers for each tensor group.
 *
 * @param base index of the original layer that gives the layer its place and its attention type
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

  /** The most original layers that one of the tensors is mixed from. */
  public int sources() {
    return Math.max(
        Math.max(attention.terms().size(), feedForward.terms().size()), norms.terms().size());
  }

  /** The highest index of an original layer that any tensor is mixed from. */
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
