package dev.laco.cli;

import dev.laco.analysis.LayerMatrix;
import dev.laco.analysis.SimilarityResult;
import dev.laco.analysis.SimilarityResult.Removals;
import dev.laco.analysis.SimilarityResult.Span;
import dev.laco.analysis.SimilarityResult.States;
import dev.laco.analysis.SimilarityResult.Update;
import dev.laco.cli.chart.HeatMap;
import dev.laco.cli.chart.LineChart;
import dev.laco.cli.chart.LineChart.Series;
import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.SequencedMap;
import java.util.function.ToDoubleFunction;
import java.util.stream.IntStream;

/** The pictures of a similarity: heat maps and line charts as SVG. */
final class SimilarityPictures {
  private SimilarityPictures() {}

  /** The pictures of what was measured, by the names of their files. */
  static SequencedMap<String, String> of(SimilarityResult result) {
    SequencedMap<String, String> pictures = new LinkedHashMap<>();
    SimilarityResult.Parameters weights = result.parameters().get(SimilarityResult.ALL);
    if (weights != null) {
      pictures.put(
          "parameters.svg",
          new HeatMap(
                  "Cosine of layers' weights",
                  "layer",
                  0,
                  "layer",
                  "cosine",
                  withoutDiagonal(weights.cosine()),
                  false)
              .svg());
    }
    if (result.states() != null) {
      states(pictures, result.states());
    }
    if (result.removals() != null) {
      removals(pictures, result.removals(), result.layers());
    }
    return pictures;
  }

  /** The diagonal is 1, and hides how the other values differ. */
  private static List<List<Double>> withoutDiagonal(LayerMatrix matrix) {
    return IntStream.range(0, matrix.size())
        .mapToObj(
            row ->
                IntStream.range(0, matrix.size())
                    .mapToObj(column -> row == column ? Double.NaN : matrix.get(row, column))
                    .toList())
        .toList();
  }

  private static void states(SequencedMap<String, String> pictures, States states) {
    String before = "hidden state (input of the layer)";
    pictures.put(
        "states.svg",
        new HeatMap(
                "Cosine of hidden states",
                before,
                0,
                before,
                "cosine, mean over tokens",
                states.cosine().rows(),
                false)
            .svg());
    pictures.put(
        "cka.svg",
        new HeatMap(
                "Centred kernel alignment of hidden states",
                before,
                0,
                before,
                "CKA",
                states.cka().rows(),
                false)
            .svg());
    pictures.put(
        "angular.svg",
        new HeatMap(
                "Angular distance of the input and output of a block of layers",
                "layers of the block",
                1,
                "first layer of the block",
                "half turns",
                byLength(states.angular()),
                false)
            .svg());
    pictures.put(
        "updates.svg",
        new LineChart(
                "What each layer adds, relative to its input",
                "layer",
                "length of the update / length of the input",
                List.of(
                    perLayer("attention", states.updates(), Update::attention),
                    perLayer("feed-forward network", states.updates(), Update::feedForward),
                    perLayer("Block Influence", states.updates(), Update::blockInfluence)),
                true,
                null)
            .svg());
    pictures.put(
        "norms.svg",
        new LineChart(
                "Growth of the residual stream",
                before,
                "length of a hidden state, mean over tokens",
                List.of(perLayer("length", states.norms(), norm -> norm)),
                true,
                null)
            .svg());
  }

  /** Row {@code n}: the distances of blocks of {@code n + 1} layers, by first layer. */
  private static List<List<Double>> byLength(LayerMatrix angular) {
    int layers = angular.size() - 1;
    List<List<Double>> rows = new ArrayList<>();
    for (int length = 1; length <= layers; length++) {
      List<Double> row = new ArrayList<>(Collections.nCopies(layers, Double.NaN));
      for (int first = 0; first + length <= layers; first++) {
        row.set(first, angular.get(first, first + length));
      }
      rows.add(row);
    }
    return rows;
  }

  private static void removals(
      SequencedMap<String, String> pictures, Removals removals, int layers) {
    List<List<Double>> cost = new ArrayList<>();
    for (int last = 0; last < layers; last++) {
      cost.add(new ArrayList<>(Collections.nCopies(layers, Double.NaN)));
    }
    for (Span span : removals.spans()) {
      cost.get(span.last()).set(span.first(), span.nll() - removals.nll());
    }
    pictures.put(
        "spans.svg",
        new HeatMap(
                "What the removal of a span of layers costs",
                "last layer removed",
                0,
                "first layer removed",
                "nll more than the original's, nats",
                cost,
                true)
            .svg());
    List<Span> single = removals.spans().stream().filter(span -> span.layers() == 1).toList();
    pictures.put(
        "removals.svg",
        new LineChart(
                "What the removal of one layer costs",
                "layer",
                "nats",
                List.of(
                    perLayer("nll more than the original's", single, s -> s.nll() - removals.nll()),
                    perLayer("kl to the original", single, Span::kl)),
                true,
                null)
            .svg());
  }

  private static <T> Series perLayer(String name, List<T> layers, ToDoubleFunction<T> value) {
    return new Series(
        name,
        IntStream.range(0, layers.size()).mapToObj(layer -> (double) layer).toList(),
        layers.stream().map(value::applyAsDouble).toList());
  }
}
