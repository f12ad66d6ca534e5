package dev.laco.model;

import org.jspecify.annotations.Nullable;

/**
 * What the attention of one layer has that other layers of the model may not have.
 *
 * @param window the window {@code W}, in tokens: position i sees the positions max(0, i-W+1) … i if
 *     {@code W > 0}, and 0 … i if {@code W} is 0
 * @param rotation the rotary embedding of queries and keys; null where they are not rotated
 * @param linear whether it is {@link LinearAttention}, which has neither window nor rotation
 */
public record LayerAttention(int window, @Nullable RopeParameters rotation, boolean linear) {
  /** Linear attention. */
  static final LayerAttention LINEAR = new LayerAttention(0, null, true);

  /** Attention by a softmax. */
  public LayerAttention(int window, @Nullable RopeParameters rotation) {
    this(window, rotation, false);
  }
}
