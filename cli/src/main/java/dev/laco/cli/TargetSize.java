package dev.laco.cli;

import dev.laco.ByteSize;
import dev.laco.prune.Goal;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Option;

/**
 * The size that a model is pruned to: one of these, a quarter of the layers where none is given.
 */
@HelpSection.In(HelpSection.SIZE)
class TargetSize {
  @Option(names = "--target-layers", paramLabel = "N", description = "Leave N layers.")
  @Nullable Integer layers;

  @Option(
      names = "--target-ratio",
      paramLabel = "R",
      description =
          "Remove this share of the n layers, 0.25 or 25%%: N = ceil(n (1 - R)). Default: 25%%.")
  @Nullable Share ratio;

  @Option(
      names = "--target-bytes",
      paramLabel = "BYTES",
      description =
          "Leave as many layers as weights of this size hold, as they are written (KB, MB, GB, KiB,"
              + " MiB, GiB).")
  @Nullable ByteSize bytes;

  /** The size that is asked for. */
  Goal goal() {
    if (layers != null) {
      return Goal.layers(layers);
    }
    if (bytes != null) {
      return Goal.bytes(bytes.bytes());
    }
    return ratio != null ? Goal.ratio(ratio.value()) : Goal.QUARTER;
  }
}
