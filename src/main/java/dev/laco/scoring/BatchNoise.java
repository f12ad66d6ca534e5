package dev.laco.scoring;

import dev.laco.backend.Backend;
import dev.laco.backend.DeviceInfo;
import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.Score;
import dev.laco.model.DType;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.ToDoubleFunction;
import java.util.stream.IntStream;

/**
 * By how much the mean similarity of a plan may differ with the number of candidates that ran as
 * one batch with it: matrices of other heights may be multiplied by other code, in another order.
 *
 * <p>On the CPU that is a table, which {@code BatchNoiseTest} measures. Nothing differed where a
 * candidate alone has more rows than our kernel for few rows takes. Below that, the largest that
 * was seen, on SmolLM2-135M, was 2.9e-7 in f32, and 2.1e-3 where products round activations, which
 * the kernel for few rows does not. The bounds leave room for other models.
 *
 * <p>On a GPU each card, driver and cuBLAS has its own: {@value #SAMPLES} plans of the first batch
 * run again alone, and {@value #ROOM} times the most that a mean moved is the bound, the table's at
 * least.
 */
final class BatchNoise {
  private static final double F32 = 2e-6;
  private static final double ROUNDED = 5e-3;

  /** Plans that are measured. */
  private static final int SAMPLES = 3;

  /** How much more than those that are measured others may move. */
  private static final double ROOM = 8;

  private final boolean measures;
  private double bound;

  /** Plans that ran in the first batch, and their means there; gone once they have run alone. */
  private Map<CollapsePlan, Double> sample = Map.of();

  private boolean hasSample;

  BatchNoise(Backend backend) {
    bound = table(backend);
    measures = backend.info().kind() == DeviceInfo.Kind.CUDA;
  }

  /** The bound for a backend that has not been measured. */
  static double table(Backend backend) {
    if (backend.info().kind() == DeviceInfo.Kind.REFERENCE) {
      // Sums of one row, whatever lies beside it.
      return 0;
    }
    return backend.productType(DType.BF16) == DType.F32 ? F32 : ROUNDED;
  }

  /** To be told of every pass: what came out for plans side by side. */
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

  /** Of a mean that is not a number nobody can say how far it moved. */
  private void moved(double distance) {
    if (!Double.isNaN(distance)) {
      bound = Math.max(bound, ROOM * Math.abs(distance));
    }
  }
}
