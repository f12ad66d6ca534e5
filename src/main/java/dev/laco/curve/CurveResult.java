package dev.laco.curve;

import dev.laco.report.Fidelity;
import dev.laco.report.Perplexity;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/**
 * Quality over size.
 *
 * @param model the original's folder
 * @param text names the evaluation text for people
 * @param dense the original
 * @param points the pruned models, the most layers first
 * @param peers models of other strategies, by size and then by strategy
 * @param warnings what a user was warned of
 */
public record CurveResult(
    Path model,
    String text,
    Dense dense,
    List<Point> points,
    List<Peer> peers,
    List<String> warnings) {
  /** A result with copies of its lists. */
  public CurveResult {
    points = List.copyOf(points);
    peers = List.copyOf(peers);
    warnings = List.copyOf(warnings);
  }

  /**
   * The original.
   *
   * @param bytes of its weights
   */
  public record Dense(int layers, long bytes, Perplexity perplexity) {}

  /**
   * A pruned model.
   *
   * @param kept the original's layers that are left, as people read them
   * @param bytes of its weights
   * @param fidelity its perplexity, and how near it is to the original
   * @param tokensPerSecond tokens of a text that run through the model in a second, without the
   *     head
   * @param speedup {@code tokensPerSecond} relative to that of the original, both measured in turn
   * @param plan the name of its plan in the folder of the curve
   */
  public record Point(
      int layers,
      String kept,
      long bytes,
      Fidelity fidelity,
      double tokensPerSecond,
      double speedup,
      String plan) {}

  /**
   * A model of another strategy.
   *
   * @param strategy its name
   */
  public record Peer(int layers, String strategy, Fidelity fidelity) {}

  /** The perplexity of a pruned model divided by that of the original. */
  public double ratio(Fidelity fidelity) {
    return Math.exp(fidelity.perplexity().meanNll() - dense.perplexity.meanNll());
  }

  /**
   * The knee of the curve of nll over removed layers: the point that lies farthest below the line
   * from the original to the smallest model (Satopaa et al., 2011). Up to the knee a layer costs
   * less than on average, and behind it more. Empty where no point lies below the line.
   */
  public Optional<Point> knee() {
    if (points.isEmpty()) {
      return Optional.empty();
    }
    Point last = points.getLast();
    double removed = dense.layers - last.layers;
    double lost = last.fidelity.perplexity().meanNll() - dense.perplexity.meanNll();
    @Nullable Point knee = null;
    double farthest = 0;
    for (Point point : points) {
      double below =
          (dense.layers - point.layers) / removed
              - (point.fidelity.perplexity().meanNll() - dense.perplexity.meanNll()) / lost;
      if (lost > 0 && below > farthest) {
        farthest = below;
        knee = point;
      }
    }
    return Optional.ofNullable(knee);
  }
}
