package dev.laco.cli;

import dev.laco.evaluate.EvaluateRequest;
import dev.laco.evaluate.EvaluateResult;
import dev.laco.evaluate.Interval;
import dev.laco.evaluate.ItemSample;
import dev.laco.evaluate.McNemar;
import dev.laco.evaluate.Metric;
import dev.laco.evaluate.PairedComparison;
import dev.laco.evaluate.Task;
import dev.laco.evaluate.TaskComparison;
import dev.laco.evaluate.TaskResult;
import dev.laco.evaluate.TextComparison;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/**
 * What people see of tasks: a table with a line for each metric, and for each pruned model a table
 * of what it lost.
 */
final class TaskLines {
  private static final String PERPLEXITY = EvaluateRequest.Tasks.PERPLEXITY;
  private static final String FORM = "%-15s  %-16s  %9s  %8s  %s%n";
  private static final String PAIRED =
      "%-15s  %-16s  %9s  %9s  %9s  %17s  %5s  %5s  %7s  %8s  %8s%n";

  /** Values from which on digits behind the point say nothing. */
  private static final double MOST = 1e6;

  /** The p-value below which flips are taken for a loss. */
  private static final double SIGNIFICANT = 0.05;

  /** The columns of {@link #change}. */
  static final List<String> CHANGE =
      List.of("change", "95 % interval", "lost", "won", "p", "kept", "beyond chance");

  private TaskLines() {}

  static String of(EvaluateResult.OfTasks result) {
    StringBuilder table = new StringBuilder();
    line(table, FORM, "task", "metric", "value", "error", "items");
    for (TaskResult task : result.results().tasks()) {
      String name = task.task().name();
      String items = items(task);
      for (Metric metric : task.metrics()) {
        line(
            table,
            FORM,
            name,
            metric.name(),
            value(metric.name(), metric.value()),
            value(metric.name(), metric.standardError()),
            items);
        name = "";
        items = "";
      }
    }
    for (Task.Group group : result.groups()) {
      line(
          table,
          FORM,
          group.name(),
          Metric.ACCURACY,
          percent(result.results().accuracy(group)),
          "",
          "mean of " + String.join(", ", result.results().counted(group)));
    }
    EvaluateResult.OfText text = result.text();
    if (text != null) {
      line(
          table,
          FORM,
          PERPLEXITY,
          PERPLEXITY,
          value(PERPLEXITY, text.perplexity().perplexity()),
          "",
          String.format(Locale.ROOT, "%,d tokens of %s", text.perplexity().tokens(), text.text()));
    }
    ItemSample sample = result.sample();
    if (sample != null) {
      line(
          table,
          "%nwithin %.0f s: %,d of %,d items, which took %.0f s%n",
          sample.within(),
          sample.items(),
          sample.of(),
          sample.seconds());
    }
    for (int i = 0; i < result.against().size(); i++) {
      add(table, result.against().get(i), text, text == null ? null : text.against().get(i));
    }
    EvaluateResult.OfThroughput throughput = result.throughput();
    if (throughput != null) {
      table.append(System.lineSeparator()).append(ThroughputLines.of(throughput));
    }
    return table.toString();
  }

  private static void add(
      StringBuilder table,
      TaskComparison comparison,
      EvaluateResult.@Nullable OfText denseText,
      @Nullable TextComparison text) {
    line(table, "%n%s beside the dense model, on the same items%n", comparison.pruned().model());
    line(table, PAIRED, cells(List.of("task", "metric", "dense", "pruned"), CHANGE));
    for (TaskComparison.OfTask task : comparison.tasks()) {
      String name = task.task().name();
      for (PairedComparison metric : task.metrics()) {
        String dense = value(metric.metric(), metric.dense());
        String pruned = value(metric.metric(), metric.pruned());
        line(table, PAIRED, cells(List.of(name, metric.metric(), dense, pruned), change(metric)));
        name = "";
      }
    }
    for (TaskComparison.OfGroup group : comparison.groups()) {
      line(
          table,
          PAIRED,
          group.group().name(),
          Metric.ACCURACY,
          percent(group.dense()),
          percent(group.pruned()),
          points(group.pruned() - group.dense()),
          "",
          "",
          "",
          "",
          percent(group.ratioOfMeans()),
          percent(group.keptBeyondChance()));
      line(table, "%-15s  mean of ratios %s%n", "", percent(group.meanOfRatios()));
    }
    if (denseText != null && text != null) {
      line(
          table,
          PAIRED,
          PERPLEXITY,
          PERPLEXITY,
          value(PERPLEXITY, denseText.perplexity().perplexity()),
          value(PERPLEXITY, text.perplexity().perplexity()),
          times(text.ratio()),
          range(text.interval()),
          "",
          "",
          "",
          "",
          "");
    }
    if (!flips(comparison).isEmpty()) {
      line(table, "%s%n", lost(comparison));
    }
  }

  /**
   * The share of right answers that a task is judged by; of a task without one its first metric.
   */
  static PairedComparison primary(TaskComparison.OfTask task) {
    return task.metrics().stream()
        .filter(metric -> Metric.isShare(metric.metric()))
        .findFirst()
        .orElse(task.metrics().getFirst());
  }

  /** The flips of every task whose answers are right or wrong. */
  static List<McNemar> flips(TaskComparison comparison) {
    List<McNemar> flips = new ArrayList<>();
    for (TaskComparison.OfTask task : comparison.tasks()) {
      McNemar own = primary(task).flips();
      if (own != null) {
        flips.add(own);
      }
    }
    return flips;
  }

  /** What a pruned model lost and won, as a sentence. */
  static String lost(TaskComparison comparison) {
    List<McNemar> flips = flips(comparison);
    return String.format(
        Locale.ROOT,
        "%,d answers that were right are wrong now, %,d that were wrong are right. The loss is more"
            + " than chance explains in %d of %d tasks (exact McNemar test, p below %s).",
        flips.stream().mapToLong(McNemar::lost).sum(),
        flips.stream().mapToLong(McNemar::won).sum(),
        flips.stream().filter(of -> of.lost() > of.won() && of.pValue() < SIGNIFICANT).count(),
        flips.size(),
        SIGNIFICANT);
  }

  private static Object[] cells(List<String> first, List<String> more) {
    return Stream.concat(first.stream(), more.stream()).toArray();
  }

  /** What changed of a metric, a cell for each of {@link #CHANGE}. */
  static List<String> change(PairedComparison of) {
    McNemar flips = of.flips();
    String change =
        Metric.isRate(of.metric()) ? points(of.pruned() - of.dense()) : times(of.kept());
    return flips == null
        ? List.of(change, range(of), "", "", "", "", "")
        : List.of(
            change,
            range(of),
            String.format(Locale.ROOT, "%,d", flips.lost()),
            String.format(Locale.ROOT, "%,d", flips.won()),
            String.format(Locale.ROOT, "%.4f", flips.pValue()),
            percent(of.kept()),
            percent(of.keptBeyondChance()));
  }

  /** The interval of a change. */
  private static String range(PairedComparison of) {
    Interval interval = of.interval();
    return Metric.isRate(of.metric())
        ? points(interval.low()) + " to " + points(interval.high())
        : range(interval);
  }

  /** The interval of a ratio; empty where there is none. */
  static String range(@Nullable Interval interval) {
    return interval == null ? "" : times(interval.low()) + " to " + times(interval.high());
  }

  /** A line without blanks at its end. */
  private static void line(StringBuilder table, String form, Object... cells) {
    String line = String.format(Locale.ROOT, form, cells);
    table.append(line.stripTrailing()).append(System.lineSeparator());
  }

  /** How many items of which file. */
  static String items(TaskResult task) {
    String of =
        task.items() == task.available()
            ? "%,d in %3$s"
            : task.sampled() ? "a sample of %,d of %,d in %s" : "the first %,d of %,d in %s";
    return String.format(Locale.ROOT, of, task.items(), task.available(), task.source());
  }

  /** A value of a metric. */
  static String value(String metric, double value) {
    if (!Double.isFinite(value)) {
      return "-";
    }
    return Metric.isRate(metric)
        ? percent(value)
        : String.format(Locale.ROOT, value < MOST ? "%.3f" : "%.3e", value);
  }

  /** A share. */
  static String percent(double share) {
    return Double.isFinite(share) ? String.format(Locale.ROOT, "%.2f %%", 100 * share) : "-";
  }

  /** A difference of shares in points of a hundred. */
  private static String points(double difference) {
    return String.format(Locale.ROOT, "%+.2f", 100 * difference);
  }

  /** A ratio. */
  static String times(double ratio) {
    return "x" + String.format(Locale.ROOT, "%.3f", ratio);
  }
}
