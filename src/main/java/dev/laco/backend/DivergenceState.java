package dev.laco.backend;

import static java.lang.foreign.ValueLayout.JAVA_DOUBLE;

import java.lang.foreign.MemorySegment;

/**
 * The running sums of {@link ScoringOps#klDivergence}. A backend computes logits for one panel of
 * the vocabulary after the other; the kernels start the sums of a row at the first panel and
 * continue them at each later one. With the logits {@code r} of the reference and {@code h} of the
 * other model, a row has five f64: {@code m = max(r)}, {@code sum exp(r - m)}, {@code sum exp(r -
 * m) (r - h)}, {@code n = max(h)} and {@code sum exp(h - n)}.
 */
public final class DivergenceState {
  /** Bytes of the sums of one row. */
  public static final long BYTES = 5 * Double.BYTES;

  private DivergenceState() {}

  /**
   * The divergence of a row whose sums have been through all panels. A small negative value, which
   * is due to rounding, becomes 0.
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

  /** The logarithm of {@code sum exp(h)} of a row whose sums have been through all panels. */
  public static double logSum(MemorySegment state, long row) {
    return state.getAtIndex(JAVA_DOUBLE, 5 * row + 3)
        + Math.log(state.getAtIndex(JAVA_DOUBLE, 5 * row + 4));
  }
}
