package dev.laco.cli;

import dev.laco.UsageException;
import dev.laco.collapse.CollapseSettings;
import dev.laco.collapse.MergeRule;
import dev.laco.collapse.NormsPolicy;
import java.math.BigDecimal;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.ArgGroup;
import picocli.CommandLine.Option;

/** The numbers of the collapse loop. */
final class SearchOptions {
  private static final BigDecimal DEFAULT_RATIO = new BigDecimal("0.25");
  private static final int DEFAULT_MERGE_LAYERS = 4;
  private static final int DEFAULT_INTERVAL = 2;

  @ArgGroup @Nullable Goal goal;

  @Option(
      names = "--merge-layers",
      paramLabel = "C",
      description =
          "Layers merged at once, base included. Default: 4, or the depth if that is less.")
  @Nullable Integer mergeLayers;

  @Option(
      names = "--interval",
      paramLabel = "I",
      description = "Layers that the base moves down after an accepted merge. Default: 2.")
  @Nullable Integer interval;

  @Option(names = "--lowest", paramLabel = "L", description = "Lowest base layer. Default: 1.")
  @Nullable Integer lowest;

  @Option(
      names = "--highest",
      paramLabel = "H",
      description = "Exclusive end: the first base tried is H - C. Default: the depth.")
  @Nullable Integer highest;

  @Option(
      names = "--rule",
      paramLabel = "RULE",
      defaultValue = "replace",
      description =
          "How layers are merged: replace (the published code), rdsc (Eq. 1), rdsc:LAMBDA, mean or drop. Default: ${DEFAULT-VALUE}.")
  String rule;

  @Option(
      names = "--norms",
      paramLabel = "base|merge",
      description =
          "Norms and biases: keep the base's, or merge them like matrices. Default: the rule's.")
  @Nullable NormsPolicy norms;

  /** When the loop is done: one of these. */
  static final class Goal {
    @Option(
        names = "--threshold",
        paramLabel = "T",
        description = "Accept merges of mean similarity above T, -1 to 1.")
    @Nullable Double threshold;

    @Option(
        names = "--target-layers",
        paramLabel = "N",
        description = "Find the highest threshold that leaves N layers.")
    @Nullable Integer targetLayers;

    @Option(
        names = "--target-ratio",
        paramLabel = "R",
        description = "Remove this share of the layers: N = ceil(n (1 - R)). Default: 0.25.")
    @Nullable BigDecimal targetRatio;
  }

  /** The loop's numbers for a model of {@code depth} layers, checked. */
  CollapseSettings settings(int depth) {
    MergeRule mergeRule = MergeRule.parse(rule);
    int c = mergeLayers != null ? mergeLayers : Math.min(DEFAULT_MERGE_LAYERS, depth);
    int h = highest != null ? highest : depth;
    CollapseSettings settings =
        new CollapseSettings(
            c,
            interval != null ? interval : DEFAULT_INTERVAL,
            lowest != null ? lowest : Math.min(1, Math.max(0, h - c)),
            h,
            mergeRule,
            norms != null ? norms : mergeRule.defaultNorms());
    settings.check(depth);
    return settings;
  }

  /** The threshold as given, or null where a depth is the goal. */
  @Nullable Double threshold() {
    Double threshold = goal == null ? null : goal.threshold;
    if (threshold != null && !(threshold >= -1 && threshold <= 1)) {
      throw new UsageException("--threshold " + threshold + ": expected -1 to 1");
    }
    return threshold;
  }

  /** The depth to reach where no threshold is given. */
  int targetLayers(int depth) {
    if (goal != null && goal.targetLayers != null) {
      int target = goal.targetLayers;
      if (target < 1 || target > depth) {
        throw new UsageException(
            "--target-layers " + target + ": expected 1 to the model's depth, " + depth);
      }
      return target;
    }
    BigDecimal ratio = goal != null && goal.targetRatio != null ? goal.targetRatio : DEFAULT_RATIO;
    if (ratio.signum() < 0 || ratio.compareTo(BigDecimal.ONE) >= 0) {
      throw new UsageException("--target-ratio " + ratio + ": expected at least 0 and below 1");
    }
    // ceil(n (1 - R)), exact.
    return depth - ratio.multiply(BigDecimal.valueOf(depth)).intValue();
  }
}
