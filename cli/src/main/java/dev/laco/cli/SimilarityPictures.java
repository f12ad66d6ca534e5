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
  /** The names of all files of pictures; a run makes those of what it measures. */
  static final List<String> NAMES =
      List.of(
          "parameters.svg",
          "states.svg",
          "cka.svg",
          "angular.svg",
          "updates.svg",
          "norms.svg",
          "spans.svg",
          "removals.svg");

  private SimilarityPictures() {}

  /** The pictures of what was measured, by the names of their files. */
  static SequencedMap<String, PicturesPage.Picture> of(SimilarityResult result) {
    SequencedMap<String, PicturesPage.Picture> pictures = new LinkedHashMap<>();
    SimilarityResult.Parameters weights = result.parameters().get(SimilarityResult.ALL);
    if (weights != null) {
      pictures.put(
          "parameters.svg",
          new PicturesPage.Picture(
              "Cosine of layers' weights",
              new HeatMap(
                      "Cosine of layers' weights",
                      "layer",
                      0,
                      "layer",
                      "cosine",
                      withoutDiagonal(weights.cosine()),
                      false)
                  .svg(),
              "All matrices of two layers as one vector each. Weights of different layers are hardly alike in "
                  + "most models, even where what they compute is."));
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

  private static void states(SequencedMap<String, PicturesPage.Picture> pictures, States states) {
    String before = "hidden state (input of the layer)";
    pictures.put(
        "states.svg",
        new PicturesPage.Picture(
            "Cosine of hidden states",
            new HeatMap(
                    "Cosine of hidden states",
                    before,
                    0,
                    before,
                    "cosine, mean over tokens",
                    states.cosine().rows(),
                    false)
                .svg(),
            "Between two places of the residual stream, at the same token. Bright squares along the diagonal "
                + "are runs of layers that change little."));
    pictures.put(
        "cka.svg",
        new PicturesPage.Picture(
            "Centred kernel alignment of hidden states",
            new HeatMap(
                    "Centred kernel alignment of hidden states",
                    before,
                    0,
                    before,
                    "CKA",
                    states.cka().rows(),
                    false)
                .svg(),
            "As the cosine, but blind to rotation and scale: whether two states tell tokens apart alike."));
    pictures.put(
        "angular.svg",
        new PicturesPage.Picture(
            "Angular distance of blocks",
            new HeatMap(
                    "Angular distance of the input and output of a block of layers",
                    "layers of the block",
                    1,
                    "first layer of the block",
                    "half turns",
                    byLength(states.angular()),
                    false)
                .svg(),
            "How far a block of layers turns the hidden state of the last token. Dark cells are blocks that "
                + "can go, by Gromov et al."));
    pictures.put(
        "updates.svg",
        new PicturesPage.Picture(
            "What each layer adds",
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
                .svg(),
            "The lengths of what attention and feed-forward network add, relative to the input; Block "
                + "Influence is one minus the cosine of input and output (ShortGPT)."));
    pictures.put(
        "norms.svg",
        new PicturesPage.Picture(
            "Growth of the residual stream",
            new LineChart(
                    "Growth of the residual stream",
                    before,
                    "length of a hidden state, mean over tokens",
                    List.of(perLayer("length", states.norms(), norm -> norm)),
                    true,
                    null)
                .svg(),
            "A jump is a layer that writes a few huge values: it is costly to remove."));
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
      SequencedMap<String, PicturesPage.Picture> pictures, Removals removals, int layers) {
    List<List<Double>> cost = new ArrayList<>();
    for (int last = 0; last < layers; last++) {
      cost.add(new ArrayList<>(Collections.nCopies(layers, Double.NaN)));
    }
    for (Span span : removals.spans()) {
      cost.get(span.last()).set(span.first(), span.nll() - removals.nll());
    }
    pictures.put(
        "spans.svg",
        new PicturesPage.Picture(
            "What the removal of a span costs",
            new HeatMap(
                    "What the removal of a span of layers costs",
                    "last layer removed",
                    0,
                    "first layer removed",
                    "nll more than the original's, nats",
                    cost,
                    true)
                .svg(),
            "Every span of layers that was left out, and how much worse the model then predicts the text."));
    List<Span> single = removals.spans().stream().filter(span -> span.layers() == 1).toList();
    pictures.put(
        "removals.svg",
        new PicturesPage.Picture(
            "What the removal of one layer costs",
            new LineChart(
                    "What the removal of one layer costs",
                    "layer",
                    "nats",
                    List.of(
                        perLayer(
                            "nll more than the original's", single, s -> s.nll() - removals.nll()),
                        perLayer("kl to the original", single, Span::kl)),
                    true,
                    null)
                .svg(),
            "Each layer left out alone: low points can go first."));
  }

  private static <T> Series perLayer(String name, List<T> layers, ToDoubleFunction<T> value) {
    return new Series(
        name,
        IntStream.range(0, layers.size()).mapToObj(layer -> (double) layer).toList(),
        layers.stream().map(value::applyAsDouble).toList());
  }
}
