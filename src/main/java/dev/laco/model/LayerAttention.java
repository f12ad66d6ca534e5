package dev.laco.model;

import org.jspecify.annotations.Nullable;

/**
 * What the attention of one layer, or what stands in its place, has that other layers of the model
 * may not have.
 *
 * @param window the window {@code W}, in tokens: position i sees the positions max(0, i-W+1) … i if
 *     {@code W > 0}, and 0 … i if {@code W} is 0
 * @param rotation the rotary embedding of queries and keys; null where they are not rotated
 * @param mixer which kind it is; but for a softmax it has neither window nor rotation
 */
public record LayerAttention(int window, @Nullable RopeParameters rotation, TokenMixer mixer) {
  /** Attention by a softmax. */
  public LayerAttention(int window, @Nullable RopeParameters rotation) {
    this(window, rotation, TokenMixer.SOFTMAX);
  }

  /** What stands in the place of attention by a softmax. */
  static LayerAttention of(TokenMixer mixer) {
    return new LayerAttention(0, null, mixer);
  }

  /** Whether it is attention by a softmax. */
  public boolean hasSoftmax() {
    return mixer == TokenMixer.SOFTMAX;
  }
}
