package dev.laco.backend;

import static java.lang.foreign.ValueLayout.JAVA_DOUBLE;

import java.lang.foreign.MemorySegment;

/**
 * What {@link Backend#klDivergence} keeps of each row between panels of the vocabulary, five f64:
 * the largest logit {@code m} of the reference, its sum {@code s} of {@code exp(r - m)}, the sum
 * {@code w} of {@code exp(r - m) (r - h)} with the other logits {@code h}, and largest and sum of
 * those. The kernels begin and carry it on.
 */
public final class DivergenceState {
  /** Bytes of a row's. */
  public static final long BYTES = 5 * Double.BYTES;

  private DivergenceState() {}

  /**
   * The divergence of a row whose whole vocabulary has been seen; rounding never makes it negative.
   */
  public static double divergence(MemorySegment state, long row) {
    double referenceMost = state.getAtIndex(JAVA_DOUBLE, 5 * row);
    double referenceSum = state.getAtIndex(JAVA_DOUBLE, 5 * row + 1);
    double difference = state.getAtIndex(JAVA_DOUBLE, 5 * row + 2);
    double most = state.getAtIndex(JAVA_DOUBLE, 5 * row + 3);
    double sum = state.getAtIndex(JAVA_DOUBLE, 5 * row + 4);
    return Math.max(
        0, difference / referenceSum + (most - referenceMost) + Math.log(sum / referenceSum));
  }
}
