package dev.laco.backend;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.List;

/** The {@link TrainingOps} of backends that work in the memory of this process. */
public interface MemoryTraining extends TrainingOps {
  @Override
  default void dampings(Damping step, List<Tensor> gradients, Tensor running, Tensor out) {
    OpChecks.dampings(gradients, running, out);
    double[] sums = sumsOfSquares(gradients);
    MemorySegment means = MemoryTensor.of(running).data();
    MemoryTensor to = MemoryTensor.of(out);
    for (int i = 0; i < sums.length; i++) {
      long at = (long) i * Double.BYTES;
      double before = means.get(ValueLayout.JAVA_DOUBLE_UNALIGNED, at);
      double now = step.running(before, sums[i] / gradients.get(i).elements());
      means.set(ValueLayout.JAVA_DOUBLE_UNALIGNED, at, now);
      to.set(i, step.damping(now));
    }
  }

  @Override
  default void adamW(List<Update> updates) {
    OpChecks.adamW(updates);
    for (Update update : updates) {
      Tensor damping = update.damping();
      double epsilon = damping == null ? update.step().epsilon() : MemoryTensor.of(damping).get(0);
      if (Double.isFinite(epsilon)) {
        adamW(update, epsilon);
      } else {
        MemoryTensor.of(update.gradient()).data().fill((byte) 0);
      }
    }
  }

  @Override
  default void adamW8Bit(List<Update8Bit> updates) {
    OpChecks.adamW8Bit(updates);
    updates.forEach(this::adamW8Bit);
  }

  /**
   * {@link #adamW(List)} of a tensor that was checked.
   *
   * @param epsilon the damping, or that of the step; finite
   */
  void adamW(Update update, double epsilon);

  /** {@link #adamW8Bit(List)} of a tensor that was checked. */
  void adamW8Bit(Update8Bit update);
}
