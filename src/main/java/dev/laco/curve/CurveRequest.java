package dev.laco.curve;

import dev.laco.Model;
import dev.laco.Request;
import dev.laco.Setting;
import dev.laco.checkpoint.WrittenSizes;
import dev.laco.collapse.CollapseSettings;
import dev.laco.compare.Strategy;
import dev.laco.prune.FitSettings;
import dev.laco.prune.Goal;
import dev.laco.prune.TextSettings;
import java.math.BigDecimal;
import java.util.Comparator;
import java.util.List;
import java.util.Objects;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;

/**
 * The parameters of a curve: everything, beside model and device, that its result depends on.
 *
 * @param sizes the sizes, of which a threshold is none; empty for at most ten, evenly from one
 *     layer less to half of the layers
 * @param rule how layers are merged, or removed and weights fitted, as in {@link
 *     dev.laco.prune.PruneRequest}; null for {@code auto}
 * @param texts the texts that models are scored and measured on
 * @param fit the text that weights are fitted on
 * @param compared strategies that are measured at every size, too
 */
public record CurveRequest(
    List<Goal> sizes,
    @Nullable String rule,
    TextSettings texts,
    FitSettings fit,
    List<Strategy> compared)
    implements Request {
  private static final int MOST_BY_DEFAULT = 10;

  /** A request of all values; null stands for the default of each. */
  public CurveRequest {
    sizes = sizes == null ? List.of() : List.copyOf(sizes);
    texts = Objects.requireNonNullElse(texts, TextSettings.DEFAULT);
    fit = Objects.requireNonNullElse(fit, FitSettings.DEFAULT);
    compared = compared == null ? List.of() : List.copyOf(compared);
  }

  /**
   * The numbers of layers, each once, the largest first.
   *
   * @throws dev.laco.UsageException if the model cannot have one of the sizes, or is that size, or
   *     has one layer only
   */
  List<Integer> depths(Model model) {
    int depth = model.config().numHiddenLayers();
    CollapseSettings.requireSeveral(depth);
    if (sizes.isEmpty()) {
      int removed = Math.max(1, depth / 2);
      int count = Math.min(MOST_BY_DEFAULT, removed);
      return IntStream.rangeClosed(1, count)
          .mapToObj(i -> depth - Math.ceilDiv(i * removed, count))
          .distinct()
          .toList();
    }
    return sizes.stream()
        .map(size -> depth(size, model))
        .distinct()
        .sorted(Comparator.reverseOrder())
        .toList();
  }

  /** The number of layers of one size, which is smaller than the model. */
  private static int depth(Goal size, Model model) {
    int dense = model.config().numHiddenLayers();
    return switch (size) {
      case Goal.Layers(int count) -> {
        if (count < 1 || count >= dense) {
          throw Setting.of("layers")
              .refuse(count, "1 to " + (dense - 1) + ": the model has " + dense);
        }
        yield count;
      }
      case Goal.Ratio(BigDecimal removed) -> {
        int depth = size.depth(model);
        if (depth == dense) {
          throw Setting.of("ratios")
              .refuse(removed, "at least one of the model's " + dense + " layers");
        }
        yield depth;
      }
      case Goal.Bytes bytes -> {
        Setting asked = Setting.of("bytes");
        WrittenSizes sizes = WrittenSizes.inFolder(model.checkpoint(), null);
        int depth = bytes.depth(sizes, asked);
        if (depth == dense) {
          throw asked.refuse(
              bytes.weights(),
              "less than the " + sizes.most(dense) + " bytes of the model's weights");
        }
        yield depth;
      }
      case Goal.Threshold threshold -> threshold.depth(model);
    };
  }
}
