package dev.laco.transformer;

import dev.laco.backend.EightBitMoments;

/**
 * What AdamW holds of each tensor that is trained, from one step to the next.
 *
 * @param eightBit whether running means have 8 bits an element, as {@link EightBitMoments}, in
 *     place of f32
 * @param masters whether a weight has a copy in f32 that steps move; without one, steps move the
 *     weight itself, which is then rounded at random
 */
public record AdamWState(boolean eightBit, boolean masters) {
  /** Everything in f32. */
  public static final AdamWState FULL = new AdamWState(false, true);

  /**
   * At most its bytes.
   *
   * @param parameters elements of all tensors together
   * @param tensors their number
   */
  public long bytes(long parameters, long tensors) {
    return (masters ? Float.BYTES * parameters : 0)
        + (eightBit ? EightBitMoments.bytes(parameters, tensors) : 2L * Float.BYTES * parameters);
  }
}
