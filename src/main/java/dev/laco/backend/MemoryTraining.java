package dev.laco.backend;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.List;
import org.jspecify.annotations.Nullable;

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
  default void adamW(
      AdamW step,
      @Nullable Tensor damping,
      Tensor gradient,
      Tensor mean,
      Tensor square,
      @Nullable Tensor master,
      Tensor weight) {
    OpChecks.adamW(damping, gradient, mean, square, master, weight);
    double epsilon = damping == null ? step.epsilon() : MemoryTensor.of(damping).get(0);
    if (Double.isFinite(epsilon)) {
      adamW(step, epsilon, gradient, mean, square, master, weight);
    } else {
      MemoryTensor.of(gradient).data().fill((byte) 0);
    }
  }

  /**
   * {@link #adamW(AdamW, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)} of tensors that were
   * checked.
   *
   * @param epsilon the damping, or that of the step; finite
   */
  void adamW(
      AdamW step,
      double epsilon,
      Tensor gradient,
      Tensor mean,
      Tensor square,
      @Nullable Tensor master,
      Tensor weight);
}
