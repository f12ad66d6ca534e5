package dev.laco.scoring;

import dev.laco.DeviceInfo;
import dev.laco.backend.Device;
import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.Score;
import dev.laco.model.DType;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.ToDoubleFunction;
import java.util.stream.IntStream;

/**
 * A bound on how much the mean similarity of a plan depends on the number of candidates that ran in
 * one batch with it: the library may multiply matrices with more rows by other code, in another
 * order.
 *
 * <p>On the CPU the bound is a constant, which {@code BatchNoiseTest} checks. There is no
 * difference if one candidate alone has too many rows for our kernel for few rows. With fewer rows
 * the largest difference seen, on SmolLM2-135M, was 2.9e-7 in f32, and 2.1e-3 if products round
 * activations, which the kernel for few rows does not do. The constants are larger, for other
 * models.
 *
 * <p>On a GPU the difference depends on card, driver and cuBLAS, and is measured: {@value #SAMPLES}
 * plans of the first batch run again alone, and the bound is {@value #ROOM} times the largest
 * change of a mean, but at least the constant.
 */
final class BatchNoise {
  private static final double F32 = 2e-6;
  private static final double ROUNDED = 5e-3;

  /** Number of plans that run again alone. */
  private static final int SAMPLES = 3;

  /** Safety factor: the means of other plans may change more than those measured. */
  private static final double ROOM = 8;

  private final boolean measures;
  private double bound;

  /** Plans of the first batch and their means in it; empty once they have run alone. */
  private Map<CollapsePlan, Double> sample = Map.of();

  private boolean hasSample;

  BatchNoise(Device backend) {
    bound = table(backend);
    measures = backend.info().kind() == DeviceInfo.Kind.CUDA;
  }

  /** The bound for a backend that has not been measured. */
  static double table(Device backend) {
    if (backend.info().kind() == DeviceInfo.Kind.REFERENCE) {
      // Each row is summed by itself, in one order.
      return 0;
    }
    return backend.productType(DType.BF16) == DType.F32 ? F32 : ROUNDED;
  }

  /** Must be called after every pass, with the scores of the plans that ran in it. */
  void ran(List<CollapsePlan> plans, List<Score> scores) {
    if (measures && !hasSample && plans.size() > 1) {
      hasSample = true;
      Map<CollapsePlan, Double> chosen = new LinkedHashMap<>();
      IntStream.range(0, SAMPLES)
          .map(i -> i * (plans.size() - 1) / (SAMPLES - 1))
          .forEach(i -> chosen.put(plans.get(i), scores.get(i).mean()));
      sample = chosen;
    }
  }

  /**
   * The bound.
   *
   * @param meanAlone runs a plan with none beside it
   */
  double bound(ToDoubleFunction<CollapsePlan> meanAlone) {
    Map<CollapsePlan, Double> unmeasured = sample;
    sample = Map.of();
    unmeasured.forEach((plan, mean) -> moved(meanAlone.applyAsDouble(plan) - mean));
    return bound;
  }

  /** Raises the bound to a measured change; NaN, from a mean that is not finite, is ignored. */
  private void moved(double distance) {
    if (!Double.isNaN(distance)) {
      bound = Math.max(bound, ROOM * Math.abs(distance));
    }
  }
}
