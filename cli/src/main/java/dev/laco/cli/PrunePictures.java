package dev.laco.cli;

import dev.laco.cli.PicturesPage.Picture;
import dev.laco.cli.chart.HeatMap;
import dev.laco.cli.chart.LayerMap;
import dev.laco.cli.chart.LayerMap.Weights;
import dev.laco.cli.chart.LineChart;
import dev.laco.cli.chart.LineChart.Series;
import dev.laco.cli.chart.Waterfall;
import dev.laco.collapse.BlockCost;
import dev.laco.collapse.Objective;
import dev.laco.collapse.SearchResult;
import dev.laco.collapse.Trial;
import dev.laco.report.FitReport;
import dev.laco.report.PositionDivergence;
import dev.laco.report.PruneReport;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.stream.IntStream;

/** The pictures of a prune: which layers are left, what removals cost, what the fit recovered. */
final class PrunePictures {
  private PrunePictures() {}

  /** The layers before and after, as SVG. */
  static String layerMap(PruneReport report) {
    Set<Integer> fitted = new HashSet<>();
    FitReport fit = report.fit();
    if (fit != null) {
      fit.matrices().forEach(matrix -> fitted.add(matrix.layer()));
    }
    int depth = report.plan().depth();
    PruneReport.Healing heal = report.heal();
    // Where no step made the model better, its weights are those in front of the training.
    int firstTrained =
        heal == null || heal.training().best().step() == 0
            ? depth
            : heal.training().start().firstLayer();
    List<Weights> weights =
        IntStream.range(0, depth)
            .mapToObj(layer -> Weights.of(fitted.contains(layer), layer >= firstTrained))
            .toList();
    return new LayerMap(report.plan().source().layers(), report.layers(), weights).svg();
  }

  /** What removals cost; the search must have tried something. */
  static List<Picture> ofSearch(PruneReport report) {
    SearchResult search = report.search();
    Objective objective = objective(search.trials());
    String measure = measure(objective);
    List<Picture> pictures = new ArrayList<>();
    if (!search.blocks().isEmpty()) {
      pictures.add(
          new Picture(
              "What the removal of each block costs",
              blockMap(report),
              "Every block of consecutive layers that may go, with a fit of the layer in front of it:"
                  + " about how far the predictions then move from the original's. Frames show the"
                  + " blocks that went."));
    }
    if (search.byDepth().size() > 1) {
      pictures.add(
          new Picture(
              "Best model of every size",
              curve(search.byDepth(), objective, measure),
              "The best model that the search found of every depth, without a fit, on "
                  + report.settings().calibration().text()
                  + ": where the line turns, the layers that went were needed."));
    }
    if (search.blocks().isEmpty()) {
      pictures.add(
          new Picture(
              "All merges that were tried",
              trialMap(search.trials(), objective, measure),
              "Every merge that was tried: its base, and the depth of the model that it was tried on. Frames show the merges"
                  + " that led to the model."));
    }
    return pictures;
  }

  /** The costs of blocks by their first and their last layer. */
  private static String blockMap(PruneReport report) {
    int layers = report.plan().source().layers();
    List<List<Double>> cost = new ArrayList<>();
    for (int last = 0; last < layers; last++) {
      cost.add(new ArrayList<>(Collections.nCopies(layers, Double.NaN)));
    }
    List<Integer> removed = report.layers().removed();
    List<HeatMap.Cell> gone = new ArrayList<>();
    for (BlockCost block : report.search().blocks()) {
      int first = block.block().from();
      int last = block.block().to() - 1;
      cost.get(last).set(first, block.divergence());
      if (IntStream.rangeClosed(first, last).allMatch(removed::contains)
          && !removed.contains(first - 1)
          && !removed.contains(last + 1)) {
        gone.add(new HeatMap.Cell(last, first));
      }
    }
    return new HeatMap(
            "What the removal of each block costs",
            "last layer removed",
            0,
            "first layer removed",
            "kl, about, nats",
            cost,
            true,
            gone)
        .svg();
  }

  /** What the fit recovered; none where it was left out. */
  static List<Picture> ofFit(FitReport fit) {
    List<Picture> pictures = new ArrayList<>();
    if (fit.tokens() > 0) {
      pictures.add(
          new Picture(
              "From dropped to refitted, layer by layer",
              errors(fit),
              "Squared error to the original's outputs, on text that was held out (where all of a"
                  + " layer was trained: on the text of the fit), for each layer of the pruned model: 1"
                  + " as the layers were dropped, less after the fit of each matrix. What is grey"
                  + " was not recovered."));
      if (fit.learningCurve().size() > 1) {
        pictures.add(
            new Picture(
                "Error against tokens",
                learning(fit),
                "Held-out error after more and more of the text: a line that still falls asks for more --fit-tokens."));
      }
    }
    return pictures;
  }

  /** Where in a window predictions part; none where the window has one group of positions. */
  static List<Picture> ofQuality(PruneReport.Measured measured) {
    List<PositionDivergence> groups = measured.byPosition();
    String title = "Divergence by position";
    return groups.size() < 2
        ? List.of()
        : List.of(
            new Picture(
                title,
                new LineChart(
                        title,
                        "tokens in front of the predicted one",
                        "kl, nats",
                        List.of(
                            new Series(
                                "divergence from the original's predictions",
                                groups.stream()
                                    .map(
                                        group ->
                                            Math.floorDiv(group.first() + group.last(), 2) + 1.0)
                                    .toList(),
                                groups.stream().map(PositionDivergence::divergence).toList())),
                        false,
                        null)
                    .svg(),
                "Mean divergence of the next token's distribution on "
                    + measured.text()
                    + ", by how much text stands in front: a line that rises means that long"
                    + " contexts suffer most."));
  }

  /** What a search compared models by. */
  static Objective objective(List<Trial> trials) {
    Trial.Choice choice = trials.getFirst().choice();
    return choice == null ? Objective.COSINE : choice.objective();
  }

  /** An objective with its unit, for people. */
  static String measure(Objective objective) {
    return switch (objective) {
      case COSINE -> "similarity of the last hidden states (cosine)";
      case KL -> "divergence from the original's predictions (kl, nats)";
      case NLL -> "negative log-likelihood of the next token (nll, nats)";
    };
  }

  private static String curve(
      SortedMap<Integer, List<SearchResult.Scored>> byDepth, Objective objective, String measure) {
    return new LineChart(
            "Best model of every size",
            "layers",
            measure,
            List.of(
                new Series(
                    "best model found, without a fit",
                    byDepth.keySet().stream().map(Integer::doubleValue).toList(),
                    byDepth.values().stream()
                        .map(ranked -> objective.measured(ranked.getFirst().score()))
                        .toList())),
            objective.needsLanguage(),
            null)
        .svg();
  }

  private static String trialMap(List<Trial> trials, Objective objective, String measure) {
    int lowest = trials.stream().mapToInt(Trial::layersBefore).min().orElseThrow();
    int highest = trials.stream().mapToInt(Trial::layersBefore).max().orElseThrow();
    int columns = trials.stream().mapToInt(Trial::base).max().orElseThrow() + 1;
    List<List<Double>> values = new ArrayList<>();
    for (int depth = lowest; depth <= highest; depth++) {
      values.add(new ArrayList<>(Collections.nCopies(columns, Double.NaN)));
    }
    List<HeatMap.Cell> marked = new ArrayList<>();
    Map<HeatMap.Cell, Double> best = new HashMap<>();
    for (Trial trial : trials) {
      HeatMap.Cell cell = new HeatMap.Cell(trial.layersBefore() - lowest, trial.base());
      best.merge(cell, objective.value(trial.score()), Math::max);
      if (trial.accepted()) {
        marked.add(cell);
      }
    }
    best.forEach(
        (cell, value) ->
            values.get(cell.row()).set(cell.column(), objective.needsLanguage() ? -value : value));
    return new HeatMap(
            "Merges that were tried, the best of each cell",
            "layers before the merge",
            lowest,
            "base: its number in the model before the merge",
            measure,
            values,
            objective.needsLanguage(),
            marked)
        .svg();
  }

  /** A line a layer: what the fits of its matrices, one after the other, left of the error. */
  private static String errors(FitReport fit) {
    SortedMap<Integer, List<Waterfall.Step>> steps = new TreeMap<>();
    for (FitReport.Fitted matrix : fit.matrices()) {
      List<Waterfall.Step> own = steps.computeIfAbsent(matrix.layer(), layer -> new ArrayList<>());
      double before = own.isEmpty() ? 1 : own.getLast().left();
      String name = matrix.matrix().replace('_', ' ');
      if (!own.isEmpty() && own.getLast().name().equals(name)) {
        own.removeLast();
      }
      own.add(new Waterfall.Step(name, before * matrix.error()));
    }
    return new Waterfall(
            "From dropped to refitted, layer by layer",
            "squared error / that without a fit",
            steps.entrySet().stream()
                .map(layer -> new Waterfall.Row("layer " + layer.getKey(), layer.getValue()))
                .toList())
        .svg();
  }

  private static String learning(FitReport fit) {
    return new LineChart(
            "Error against tokens",
            "tokens of the fit's text",
            "squared error after the fit / before",
            List.of(
                new Series(
                    "held-out error",
                    fit.learningCurve().stream().map(point -> (double) point.tokens()).toList(),
                    fit.learningCurve().stream().map(FitReport.Learned::error).toList())),
            false,
            null)
        .svg();
  }
}
