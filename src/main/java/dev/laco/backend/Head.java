package dev.laco.backend;

import dev.laco.model.LogitSpec;

/**
 * The output projection, which turns last hidden states into logits.
 *
 * @param weight {@code [V, d]}
 * @param spec what becomes of the products of weight and hidden states
 */
public record Head(Tensor weight, LogitSpec spec) {}
