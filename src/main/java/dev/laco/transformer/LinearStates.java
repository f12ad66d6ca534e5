package dev.laco.transformer;

import dev.laco.backend.SequenceStates;
import dev.laco.backend.TensorArena;
import dev.laco.model.DType;
import dev.laco.model.LinearAttention;

/**
 * What a layer with linear attention keeps of the earlier tokens of several sequences.
 *
 * @param convolution the inputs of its convolution of the latest tokens
 * @param delta the states of its heads
 */
record LinearStates(SequenceStates convolution, SequenceStates delta) {
  /**
   * Allocates the states of a layer.
   *
   * @param capacity tokens of a slot
   */
  static LinearStates of(TensorArena arena, LinearAttention sizes, int slots, int capacity) {
    long inputs = Math.max(1, inputs(sizes));
    return new LinearStates(
        new SequenceStates(arena.allocate(DType.F32, slots, inputs), capacity),
        new SequenceStates(
            arena.allocate(DType.F32, slots, LinearHeads.delta(sizes).states()), capacity));
  }

  /** Elements of a slot. */
  static long elements(LinearAttention sizes) {
    return inputs(sizes) + LinearHeads.delta(sizes).states();
  }

  private static long inputs(LinearAttention sizes) {
    return (sizes.kernel() - 1) * sizes.heads();
  }
}
