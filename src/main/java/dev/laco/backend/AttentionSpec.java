package dev.laco.backend;

import dev.laco.model.DType;
import dev.laco.model.LogitSpec;

/**
 * Shape and precision of causal attention.
 *
 * @param numHeads query heads
 * @param numKeyValueHeads key and value heads; divides {@code numHeads} (grouped-query attention)
 * @param headDim elements of a head of queries, keys or values
 * @param slidingWindow how many of the latest positions a position sees, itself included; 0 for all
 *     of them
 * @param scores what becomes of the products of queries and keys; the scale is usually {@code 1 /
 *     sqrt(headDim)}
 * @param products the type in which queries are multiplied by keys, and softmax weights by values.
 *     A device that has instructions for a 16-bit type rounds these factors to that type, and its
 *     sums are f32. A device without such instructions calculates in f32 or f64.
 */
public record AttentionSpec(
    int numHeads,
    int numKeyValueHeads,
    int headDim,
    int slidingWindow,
    LogitSpec scores,
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
