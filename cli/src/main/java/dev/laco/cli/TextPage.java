package dev.laco.cli;

import dev.laco.Model;
import dev.laco.cli.PicturesPage.Fact;
import dev.laco.cli.PicturesPage.Picture;
import dev.laco.cli.PicturesPage.Table;
import dev.laco.cli.chart.IntervalChart;
import dev.laco.cli.chart.LineChart;
import dev.laco.cli.chart.LineChart.Series;
import dev.laco.evaluate.EvaluateResult;
import dev.laco.evaluate.Interval;
import dev.laco.evaluate.Metric;
import dev.laco.evaluate.TextComparison;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Locale;
import java.util.stream.IntStream;

/** The page of a perplexity: by documents or windows, and of pruned models beside the dense one. */
final class TextPage {
  /** Parts that a picture shows at most. */
  private static final int MOST = 300;

  /** Parts that the table of the worst shows at most. */
  private static final int WORST = 10;

  /** Lines that a chart can tell apart. */
  private static final int LINES = 8;

  private TextPage() {}

  /**
   * The page.
   *
   * @param model the dense model's folder
   */
  static PicturesPage of(
      EvaluateResult.OfText result, Path model, PicturesPage.Made made, PicturesPage.Next next) {
    List<String> says = new ArrayList<>();
    List<Fact> facts = new ArrayList<>();
    says.add(
        format(
            "%s predicts %s (%,d tokens, %,d %ss) with a perplexity of %.4f.",
            Model.name(model),
            result.text(),
            result.perplexity().tokens(),
            result.parts().count(),
            result.part(),
            result.perplexity().perplexity()));
    facts.add(new Fact("perplexity", format("%.4f", result.perplexity().perplexity())));
    if (result.tokensPerByte() > 0) {
      facts.add(new Fact("bits per byte", format("%.4f", result.bitsPerByte(result.perplexity()))));
    }
    for (TextComparison other : result.against()) {
      Verdict verdict =
          Verdict.of(result.perplexity().perplexity(), other.perplexity().perplexity());
      Interval interval = other.interval();
      says.add(
          format(
              "%s has a perplexity of %.4f, %.4f times that of the dense model%s: %s.",
              Model.name(other.pruned()),
              other.perplexity().perplexity(),
              other.ratio(),
              interval == null
                  ? ""
                  : format(" (95 %% interval %.4f to %.4f)", interval.low(), interval.high()),
              verdict.lowercase()));
      facts.add(new Fact(Model.name(other.pruned()) + " to dense", format("x%.4f", other.ratio())));
    }
    return new PicturesPage(
        Model.name(model) + ": perplexity of " + result.text(),
        made,
        says,
        facts,
        next,
        pictures(result),
        tables(result, model),
        "All numbers: the same command with --json.");
  }

  private static List<Picture> pictures(EvaluateResult.OfText result) {
    List<Picture> pictures = new ArrayList<>();
    if (!result.against().isEmpty()) {
      List<IntervalChart.Row> rows = new ArrayList<>();
      for (TextComparison other : result.against()) {
        Interval interval = other.interval();
        rows.add(
            new IntervalChart.Row(
                Model.name(other.pruned()),
                other.ratio(),
                interval == null ? Double.NaN : interval.low(),
                interval == null ? Double.NaN : interval.high(),
                Double.NaN));
      }
      pictures.add(
          new Picture(
              "Perplexity beside the dense model",
              new IntervalChart(
                      "Perplexity beside the dense model", "pruned / dense", rows, true, 1, "")
                  .svg(),
              format(
                  "The ratio with its 95 %% interval, by a bootstrap of the %ss; 1 is the dense"
                      + " model.",
                  result.part())));
    }
    int shown = Math.min(MOST, result.parts().count());
    if (shown > 1) {
      String title = "Perplexity of every " + result.part();
      pictures.add(
          new Picture(
              title,
              new LineChart(title, result.part(), "perplexity", series(result, shown), true, null)
                  .svg(),
              shown < result.parts().count()
                  ? format("The first %,d of %,d.", shown, result.parts().count())
                  : format(
                      "In the order of the text: where lines part, the pruned model has lost more"
                          + " than elsewhere.")));
    }
    return pictures;
  }

  private static List<Series> series(EvaluateResult.OfText result, int shown) {
    List<Series> series = new ArrayList<>();
    series.add(series("dense", result.parts(), shown));
    result.against().stream()
        .limit(LINES - 1)
        .forEach(other -> series.add(series(Model.name(other.pruned()), other.parts(), shown)));
    return series;
  }

  private static Series series(String name, Metric parts, int shown) {
    return new Series(
        name,
        IntStream.range(0, shown).mapToObj(i -> (double) i).toList(),
        IntStream.range(0, shown).mapToObj(parts::valueOf).toList());
  }

  private static List<Table> tables(EvaluateResult.OfText result, Path model) {
    List<Table> tables = new ArrayList<>();
    List<List<String>> rows = new ArrayList<>();
    rows.add(row(model, result.perplexity().perplexity(), result.perplexity().meanNll(), "", ""));
    for (TextComparison other : result.against()) {
      Interval interval = other.interval();
      rows.add(
          row(
              other.pruned(),
              other.perplexity().perplexity(),
              other.perplexity().meanNll(),
              format("x%.4f", other.ratio()),
              interval == null ? "" : format("x%.4f to x%.4f", interval.low(), interval.high())));
    }
    tables.add(
        new Table(
            "The numbers",
            List.of("model", "perplexity", "mean NLL, nats", "to dense", "95 % interval"),
            rows));
    for (TextComparison other : result.against()) {
      if (other.parts().count() > 1) {
        tables.add(worst(result, other));
      }
    }
    return tables;
  }

  private static List<String> row(
      Path model, double perplexity, double nll, String ratio, String interval) {
    return List.of(
        Model.name(model), format("%.4f", perplexity), format("%.6f", nll), ratio, interval);
  }

  private static Table worst(EvaluateResult.OfText result, TextComparison other) {
    List<List<String>> rows =
        IntStream.range(0, other.parts().count())
            .boxed()
            .sorted(
                Comparator.comparingDouble(
                    part -> result.parts().valueOf(part) / other.parts().valueOf(part)))
            .limit(WORST)
            .map(
                part ->
                    List.of(
                        Integer.toString(part),
                        format("%.4f", result.parts().valueOf(part)),
                        format("%.4f", other.parts().valueOf(part)),
                        format(
                            "x%.4f", other.parts().valueOf(part) / result.parts().valueOf(part))))
            .toList();
    return new Table(
        format("Where %s lost most", Model.name(other.pruned())),
        List.of(result.part(), "dense", "pruned", "to dense"),
        rows);
  }

  private static String format(String format, Object... values) {
    return String.format(Locale.ROOT, format, values);
  }
}
