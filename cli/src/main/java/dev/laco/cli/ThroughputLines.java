package dev.laco.cli;

import dev.laco.Model;
import dev.laco.cli.chart.IntervalChart;
import dev.laco.evaluate.EvaluateResult;
import dev.laco.evaluate.Interval;
import dev.laco.evaluate.Throughput;
import dev.laco.evaluate.Throughput.Rate;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;

/** What people see of how fast models are: a table with a line for each model. */
final class ThroughputLines {
  private static final String FORM = "%-24s  %9s  %-22s  %9s  %-22s  %9s  %9s  %9s%n";

  private ThroughputLines() {}

  static String of(EvaluateResult.OfThroughput result) {
    StringBuilder table = new StringBuilder();
    line(table, columns(result));
    result.models().forEach(model -> line(table, cells(model)));
    return table.toString();
  }

  /**
   * The same as a page.
   *
   * @param name of the first model
   */
  static PicturesPage page(
      EvaluateResult.OfThroughput result,
      String name,
      PicturesPage.Made made,
      PicturesPage.Next next) {
    return new PicturesPage(
        name + ": throughput",
        made,
        List.of(
            format(
                "Tokens per second, of %,d tokens that are read at once and of %,d that are"
                    + " written one by one; all models in turn, the median of the runs.",
                result.promptTokens(), result.writtenTokens())),
        List.of(),
        next,
        speedups(result),
        List.of(table("The numbers", result)),
        "The same numbers: the same command with --json.");
  }

  /** A table of a page. */
  static PicturesPage.Table table(String title, EvaluateResult.OfThroughput result) {
    return new PicturesPage.Table(
        title, columns(result), result.models().stream().map(ThroughputLines::cells).toList());
  }

  /** How many times as fast as the first model the others are; none where there is one model. */
  static List<PicturesPage.Picture> speedups(EvaluateResult.OfThroughput result) {
    List<IntervalChart.Row> rows = new ArrayList<>();
    for (Throughput model : result.models()) {
      add(rows, model, "prefill", model.prefill());
      add(rows, model, "decoding", model.decoding());
    }
    String title = "How many times as fast";
    return rows.isEmpty()
        ? List.of()
        : List.of(
            new PicturesPage.Picture(
                title,
                new IntervalChart(title, "pruned / dense", rows, true, 1, "").svg(),
                "Tokens per second relative to the dense model's in the run beside it, the median"
                    + " with its 95 % interval; above 1 the pruned model is faster."));
  }

  private static void add(List<IntervalChart.Row> rows, Throughput model, String what, Rate rate) {
    Interval interval = rate.interval();
    if (interval != null) {
      rows.add(
          new IntervalChart.Row(
              Model.name(model.model()) + " " + what,
              rate.speedup(),
              interval.low(),
              interval.high(),
              Double.NaN));
    }
  }

  /** The names of the columns. */
  private static List<String> columns(EvaluateResult.OfThroughput result) {
    return List.of(
        "model",
        "prefill/s",
        format("of %,d tokens, 95 %%", result.promptTokens()),
        "decoded/s",
        format("of %,d tokens, 95 %%", result.writtenTokens()),
        "weights",
        "KV/token",
        format("KV/%,d", Throughput.CONTEXT));
  }

  /** A model's line. */
  private static List<String> cells(Throughput model) {
    List<String> cells = new ArrayList<>();
    cells.add(Model.name(model.model()));
    for (Rate rate : List.of(model.prefill(), model.decoding())) {
      Interval interval = rate.interval();
      cells.add(format(rate.tokensPerSecond() < 100 ? "%.1f" : "%,.0f", rate.tokensPerSecond()));
      cells.add(
          interval == null
              ? "dense"
              : format("x%.2f (%.2f to %.2f)", rate.speedup(), interval.low(), interval.high()));
    }
    cells.add(format("%,.1f MB", model.weightBytes() / 1e6));
    cells.add(format("%,.1f kB", model.cacheBytes() / 1e3));
    cells.add(format("%,.1f MB", model.contextBytes() / 1e6));
    return cells;
  }

  private static void line(StringBuilder table, List<String> cells) {
    table.append(format(FORM, cells.toArray()).stripTrailing()).append(System.lineSeparator());
  }

  private static String format(String form, Object... values) {
    return String.format(Locale.ROOT, form, values);
  }
}
