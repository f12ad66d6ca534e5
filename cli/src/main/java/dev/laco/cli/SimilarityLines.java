package dev.laco.cli;

import dev.laco.analysis.SimilarityResult;
import dev.laco.analysis.SimilarityResult.Parameters;
import dev.laco.analysis.SimilarityResult.Removals;
import dev.laco.analysis.SimilarityResult.Span;
import dev.laco.analysis.SimilarityResult.States;
import dev.laco.analysis.SimilarityResult.Update;
import dev.laco.collapse.KeptLayers;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.stream.IntStream;

/** What people see of the similarity of layers: a table of layers, and one of spans. */
final class SimilarityLines {
  private static final int WIDTH = 11;

  private SimilarityLines() {}

  /** The tables of what was measured. */
  static String of(SimilarityResult result) {
    StringBuilder text = new StringBuilder();
    row(text, columns(result));
    rows(result).forEach(cells -> row(text, cells));
    if (result.removals() != null) {
      spans(text, result.removals());
    }
    return text.toString();
  }

  /** What stands in the columns of the table of layers. */
  static List<String> columns(SimilarityResult result) {
    List<String> headings = new ArrayList<>(List.of("layer"));
    if (!result.parameters().isEmpty()) {
      headings.add("weights");
    }
    if (result.states() != null) {
      headings.addAll(List.of("influence", "attention", "channels", "norm"));
    }
    if (result.removals() != null) {
      headings.addAll(List.of("nll alone", "kl alone"));
    }
    return headings;
  }

  /** The table of layers. */
  static List<List<String>> rows(SimilarityResult result) {
    return IntStream.range(0, result.layers()).mapToObj(layer -> cells(result, layer)).toList();
  }

  private static List<String> cells(SimilarityResult result, int layer) {
    List<String> cells = new ArrayList<>(List.of(String.valueOf(layer)));
    Parameters weights = result.parameters().get(SimilarityResult.ALL);
    if (weights != null) {
      cells.add(layer + 1 < result.layers() ? four(weights.cosine().get(layer, layer + 1)) : "-");
    }
    States states = result.states();
    if (states != null) {
      Update update = states.updates().get(layer);
      cells.add(four(update.blockInfluence()));
      cells.add(four(update.attention()));
      cells.add(four(update.feedForward()));
      cells.add(String.format(Locale.ROOT, "%.4g", states.norms().get(layer)));
    }
    if (result.removals() != null) {
      Span alone =
          result.removals().spans().stream()
              .filter(span -> span.first() == layer && span.layers() == 1)
              .findFirst()
              .orElseThrow();
      cells.add(signed(alone.nll() - result.removals().nll()));
      cells.add(four(alone.kl()));
    }
    return cells;
  }

  private static void spans(StringBuilder text, Removals removals) {
    text.append(System.lineSeparator());
    row(text, List.of("removed", "best span", "nll", "to dense", "kl", "similarity"));
    int longest = removals.spans().stream().mapToInt(Span::layers).max().orElse(0);
    for (int layers = 1; layers <= longest; layers++) {
      removals
          .best(layers)
          .ifPresent(
              span ->
                  row(
                      text,
                      List.of(
                          String.valueOf(span.layers()),
                          KeptLayers.ranges(List.of(span.first()))
                              + (span.layers() == 1 ? "" : "-" + span.last()),
                          four(span.nll()),
                          ratio(span.nll() - removals.nll()),
                          four(span.kl()),
                          four(span.similarity()))));
    }
    text.append(String.format(Locale.ROOT, "%n%-12s %s%n", "cheapest", cheapest(removals)));
  }

  /** The layers that cost little. */
  static String cheapest(Removals removals) {
    List<Span> cheapest = removals.cheapest();
    double sum = cheapest.stream().mapToDouble(span -> span.nll() - removals.nll()).sum();
    return String.format(
        Locale.ROOT,
        "layers %s: perplexity of each loss multiplied, %s; together they cost more, and a fit gives part of it back",
        KeptLayers.ranges(cheapest.stream().map(Span::first).sorted().toList()),
        ratio(sum));
  }

  private static void row(StringBuilder text, List<String> cells) {
    text.append(String.format(Locale.ROOT, "%-8s", cells.getFirst()));
    cells.stream()
        .skip(1)
        .forEach(cell -> text.append(String.format(Locale.ROOT, "%" + WIDTH + "s", cell)));
    text.append(System.lineSeparator());
  }

  private static String four(double value) {
    return Double.isFinite(value) ? String.format(Locale.ROOT, "%.4f", value) : "-";
  }

  private static String signed(double value) {
    return Double.isFinite(value) ? String.format(Locale.ROOT, "%+.4f", value) : "-";
  }

  private static String ratio(double nll) {
    return String.format(Locale.ROOT, "x%.3f", Math.exp(nll));
  }
}
