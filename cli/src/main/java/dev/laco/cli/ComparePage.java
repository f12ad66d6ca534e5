package dev.laco.cli;

import dev.laco.Model;
import dev.laco.cli.PicturesPage.Fact;
import dev.laco.cli.PicturesPage.Picture;
import dev.laco.cli.PicturesPage.Table;
import dev.laco.cli.chart.ChosenLayers;
import dev.laco.cli.chart.IntervalChart;
import dev.laco.collapse.KeptLayers;
import dev.laco.compare.CompareResult;
import dev.laco.compare.CompareResult.Row;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Locale;
import java.util.Optional;

/** The page of a comparison: what each strategy left of one model, the best first. */
final class ComparePage {
  private ComparePage() {}

  /** The page. */
  static PicturesPage of(CompareResult result, PicturesPage.Made made, PicturesPage.Next next) {
    return new PicturesPage(
        format(
            "%s: ways to %d of %d layers",
            Model.name(result.model()), result.layersOut(), result.layersIn()),
        made,
        says(result),
        facts(result),
        next,
        result.rows().isEmpty() ? List.of() : pictures(result),
        List.of(
            new Table(
                "The numbers",
                CompareLines.COLUMNS,
                result.rows().stream().map(row -> CompareLines.cells(row, result)).toList())),
        "All numbers, and every strategy's model as a plan: the same command with --json.");
  }

  private static List<String> says(CompareResult result) {
    List<String> says = new ArrayList<>();
    says.add(
        format(
            "Each strategy leaves %d of %d layers. All are measured on %s (%,d tokens), which no"
                + " strategy has seen; the original has a perplexity of %.2f there.",
            result.layersOut(),
            result.layersIn(),
            result.text(),
            result.dense().tokens(),
            result.dense().perplexity()));
    Optional<Row> own = best(result, true);
    Optional<Row> others = best(result, false);
    if (own.isPresent() && others.isPresent()) {
      says.add(
          format(
              "%s leaves x%.3f of that perplexity, the best other method, %s, x%.3f.",
              own.get().strategy().label(),
              result.ratio(own.get()),
              others.get().strategy().label(),
              result.ratio(others.get())));
    }
    return says;
  }

  private static List<Fact> facts(CompareResult result) {
    List<Fact> facts = new ArrayList<>();
    facts.add(new Fact("perplexity, dense", format("%.2f", result.dense().perplexity())));
    best(result, true).ifPresent(row -> facts.add(fact("", row, result)));
    best(result, false).ifPresent(row -> facts.add(fact("best other: ", row, result)));
    return facts;
  }

  private static Fact fact(String what, Row row, CompareResult result) {
    return new Fact(
        what + row.strategy().label(),
        format("%.2f, x%.3f", row.fidelity().perplexity().perplexity(), result.ratio(row)));
  }

  /** The best of this engine's own strategies, or of the others. */
  private static Optional<Row> best(CompareResult result, boolean own) {
    return result.rows().stream().filter(row -> row.strategy().isSearched() == own).findFirst();
  }

  private static List<Picture> pictures(CompareResult result) {
    return List.of(
        new Picture(
            "Perplexity that each strategy leaves",
            new IntervalChart(
                    "Perplexity that each strategy leaves",
                    "perplexity / that of all layers",
                    result.rows().stream()
                        .map(
                            row -> new IntervalChart.Row(row.strategy().label(), result.ratio(row)))
                        .toList(),
                    true,
                    1,
                    "")
                .svg(),
            "Relative to the original, which is the dashed line at 1; the best strategy first."),
        new Picture(
            "Layers that each strategy keeps",
            new ChosenLayers(
                    "Layers that each strategy keeps",
                    result.layersIn(),
                    result.rows().stream().map(ComparePage::layers).toList())
                .svg(),
            "Layers whose weights are in the strategy's model, as they are, merged or fitted."));
  }

  private static ChosenLayers.Row layers(Row row) {
    KeptLayers layers = KeptLayers.of(row.plan());
    HashSet<Integer> used = new HashSet<>(layers.kept());
    layers.merged().values().forEach(used::addAll);
    return new ChosenLayers.Row(row.strategy().label(), used);
  }

  private static String format(String format, Object... values) {
    return String.format(Locale.ROOT, format, values);
  }
}
