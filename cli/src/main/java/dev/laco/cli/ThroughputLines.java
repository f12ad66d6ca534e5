package dev.laco.cli;

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

  /** The names of the columns. */
  static List<String> columns(EvaluateResult.OfThroughput result) {
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
  static List<String> cells(Throughput model) {
    List<String> cells = new ArrayList<>();
    cells.add(String.valueOf(model.model().getFileName()));
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
