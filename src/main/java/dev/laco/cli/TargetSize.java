package dev.laco.cli;

import dev.laco.UsageException;
import java.math.BigDecimal;
import java.util.Comparator;
import java.util.List;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Option;

/**
 * The size that a model is pruned to: one of these, a quarter of the layers where none is given.
 */
@HelpSection.In(HelpSection.SIZE)
class TargetSize {
  private static final Share DEFAULT_RATIO = Share.parse("25%");

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
          "Leave as many layers as weights of this size hold (KB, MB, GB, KiB, MiB, GiB).")
  @Nullable ByteSize bytes;

  /**
   * The depth to reach.
   *
   * @throws UsageException if the model cannot have that size
   */
  int depth(OpenModel model) {
    int depth = model.config().numHiddenLayers();
    if (layers != null) {
      if (layers < 1 || layers > depth) {
        throw new UsageException(
            "--target-layers " + layers + ": expected 1 to the model's depth, " + depth);
      }
      return layers;
    }
    return bytes != null ? depthOf(bytes, model) : depthOf(ratio, depth);
  }

  private static int depthOf(@Nullable Share given, int depth) {
    BigDecimal ratio = (given != null ? given : DEFAULT_RATIO).value();
    if (ratio.signum() < 0 || ratio.compareTo(BigDecimal.ONE) >= 0) {
      throw new UsageException("--target-ratio " + ratio + ": expected at least 0 and below 1");
    }
    // ceil(n (1 - R)), exact.
    return depth - ratio.multiply(BigDecimal.valueOf(depth)).intValue();
  }

  /** The largest depth whose weights fit, whichever layers survive. */
  private static int depthOf(ByteSize bytes, OpenModel model) {
    List<Long> largestFirst =
        IntStream.range(0, model.config().numHiddenLayers())
            .mapToObj(layer -> model.checkpoint().layerBytes(layer))
            .sorted(Comparator.reverseOrder())
            .toList();
    long used =
        model.checkpoint().totalBytes() - largestFirst.stream().mapToLong(Long::longValue).sum();
    int depth = 0;
    while (depth < largestFirst.size() && used + largestFirst.get(depth) <= bytes.bytes()) {
      used += largestFirst.get(depth);
      depth++;
    }
    if (depth == 0) {
      throw new UsageException(
          "--target-bytes "
              + bytes.bytes()
              + ": the smallest, with one layer, has "
              + (used + largestFirst.getFirst())
              + " bytes of weights");
    }
    return depth;
  }
}
