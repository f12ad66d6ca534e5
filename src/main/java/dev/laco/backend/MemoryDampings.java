package dev.laco.backend;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.List;

/** {@link TrainingOps#dampings} in the memory of this process. */
public final class MemoryDampings {
  private MemoryDampings() {}

  /**
   * Sets running means and dampings.
   *
   * @param sums of the squares of all elements of each gradient
   */
  public static void set(
      TrainingOps.Damping step,
      List<Tensor> gradients,
      double[] sums,
      Tensor running,
      Tensor dampings) {
    MemorySegment means = MemoryTensor.of(running).data();
    MemoryTensor to = MemoryTensor.of(dampings);
    for (int i = 0; i < sums.length; i++) {
      long at = (long) i * Double.BYTES;
      double before = means.get(ValueLayout.JAVA_DOUBLE_UNALIGNED, at);
      double now = step.running(before, sums[i] / gradients.get(i).elements());
      means.set(ValueLayout.JAVA_DOUBLE_UNALIGNED, at, now);
      to.set(i, step.damping(now));
    }
  }
}
