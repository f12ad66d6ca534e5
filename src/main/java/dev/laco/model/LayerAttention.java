package dev.laco.model;

import org.jspecify.annotations.Nullable;

/**
 * What the attention of one layer has that other layers of the model may not have.
 *
 * @param window the window {@code W}, in tokens: position i sees the positions max(0, i-W+1) … i if
 *     {@code W > 0}, and 0 … i if {@code W} is 0
 * @param rotation the rotary embedding of queries and keys; null where they are not rotated
 */
public record LayerAttention(int window, @Nullable RopeParameters rotation) {}
