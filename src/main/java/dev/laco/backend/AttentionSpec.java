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
 * @param alibi whether scores fall with distance (Press et al. 2022, "Train Short, Test Long"): the
 *     score of a key {@code n} positions earlier has {@code n} times the {@link #slopes slope} of
 *     its head subtracted
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
    boolean alibi,
    DType products) {
  /** Attention whose scores do not depend on distance. */
  public AttentionSpec(
      int numHeads,
      int numKeyValueHeads,
      int headDim,
      int slidingWindow,
      LogitSpec scores,
      DType products) {
    this(numHeads, numKeyValueHeads, headDim, slidingWindow, scores, false, products);
  }

  public AttentionSpec {
    if (numHeads < 1 || numKeyValueHeads < 1 || headDim < 1 || numHeads % numKeyValueHeads != 0) {
      throw new IllegalArgumentException(
          "attention heads " + numHeads + "/" + numKeyValueHeads + " of width " + headDim);
    }
    if (slidingWindow < 0) {
      throw new IllegalArgumentException("negative window");
    }
  }

  /**
   * The slopes of ALiBi by head, as its authors' code has them. Of a power of two n heads, head h
   * has {@code 2^(-8 (h + 1) / n)}. Of another number, the first heads are those of the power of
   * two below, and the others are every second one of twice that power.
   */
  public float[] slopes() {
    int power = Integer.highestOneBit(numHeads);
    float[] slopes = new float[numHeads];
    for (int h = 0; h < numHeads; h++) {
      double steps = h < power ? h + 1 : h - power + 0.5;
      slopes[h] = (float) Math.pow(2, -8 * steps / power);
    }
    return slopes;
  }
}
