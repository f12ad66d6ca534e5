package dev.laco.cli;

import dev.laco.JobEvent;
import dev.laco.collapse.KeptLayers;
import dev.laco.compare.CompareEvent;
import dev.laco.compare.CompareResult;
import dev.laco.compare.CompareResult.Row;
import dev.laco.report.LastWord;
import java.util.List;
import java.util.Locale;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;

/** What people see of a comparison: lines while it goes on, and a table. */
final class CompareLines implements Consumer<JobEvent> {
  private static final String FORM = "%-15s  %10s  %8s  %10s  %8s  %12s  %8s  %s%n";

  /** What stands in the columns of the table. */
  static final List<String> COLUMNS =
      List.of(
          "strategy",
          "similarity",
          "kl",
          "perplexity",
          "to dense",
          "last words",
          "seconds",
          "layers kept");

  private final Console console;

  CompareLines(Console console) {
    this.console = console;
  }

  @Override
  public void accept(JobEvent event) {
    if (event instanceof CompareEvent.StrategyLeftOut(CompareResult.LeftOut leftOut)) {
      console.warning(leftOut.strategy().label() + ": " + leftOut.template());
    } else {
      JobLines.say(console, event);
    }
  }

  /** The original, and a table of what strategies leave. */
  void result(CompareResult result) {
    console.resultLine(
        "dense",
        "perplexity %.2f (%s, %,d tokens), last words %s",
        result.dense().perplexity(),
        result.text(),
        result.dense().tokens(),
        percent(result.denseLastWord()));
    StringBuilder table = new StringBuilder(String.format(Locale.ROOT, FORM, COLUMNS.toArray()));
    result
        .rows()
        .forEach(
            row -> table.append(String.format(Locale.ROOT, FORM, cells(row, result).toArray())));
    console.result(table.toString());
  }

  /** A strategy's model, a cell for each of {@link #COLUMNS}. */
  static List<String> cells(Row row, CompareResult result) {
    return List.of(
        row.strategy().label(),
        four(row.fidelity().similarity()),
        four(row.fidelity().divergence()),
        String.format(Locale.ROOT, "%.2f", row.fidelity().perplexity().perplexity()),
        "x" + String.format(Locale.ROOT, "%.3f", result.ratio(row)),
        percent(row.lastWord()),
        String.format(Locale.ROOT, "%.1f", row.seconds()),
        KeptLayers.ranges(KeptLayers.of(row.plan()).kept()));
  }

  private static String four(double value) {
    return String.format(Locale.ROOT, "%.4f", value);
  }

  private static String percent(@Nullable LastWord words) {
    return words == null
        ? "-"
        : String.format(
            Locale.ROOT, "%.1f ± %.1f %%", 100 * words.accuracy(), 100 * words.standardError());
  }
}
