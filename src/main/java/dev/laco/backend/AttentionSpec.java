package dev.laco.backend;

import dev.laco.model.DType;

/**
 * Shape and precision of a causal attention.
 *
 * @param numHeads query heads
 * @param numKeyValueHeads key and value heads; divides {@code numHeads} (grouped-query attention)
 * @param headDim width of a head
 * @param slidingWindow {@code W > 0}: position i sees max(0, i-W+1) … i; 0: no window
 * @param scale factor on the scores, usually {@code 1 / sqrt(headDim)}
 * @param products the type in which scores and weighted values are multiplied: a device with
 *     instructions for a 16-bit type rounds queries, keys, values and softmax weights to it; sums
 *     stay f32. A device without calculates in f32 or better.
 */
public record AttentionSpec(
    int numHeads,
    int numKeyValueHeads,
    int headDim,
    int slidingWindow,
    float scale,
    DType products) {
  public AttentionSpec {
    if (numHeads < 1 || numKeyValueHeads < 1 || headDim < 1 || numHeads % numKeyValueHeads != 0) {
      throw new IllegalArgumentException(
          "attention heads " + numHeads + "/" + numKeyValueHeads + " of width " + headDim);
    }
    if (slidingWindow < 0) {
      throw new IllegalArgumentException("negative window");
    }
  }
}
