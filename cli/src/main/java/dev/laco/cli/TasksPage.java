package dev.laco.cli;

import dev.laco.Model;
import dev.laco.cli.PicturesPage.Fact;
import dev.laco.cli.PicturesPage.Picture;
import dev.laco.cli.PicturesPage.Table;
import dev.laco.cli.chart.IntervalChart;
import dev.laco.cli.chart.TwoSidedBars;
import dev.laco.evaluate.EvaluateResult;
import dev.laco.evaluate.Interval;
import dev.laco.evaluate.McNemar;
import dev.laco.evaluate.Metric;
import dev.laco.evaluate.PairedComparison;
import dev.laco.evaluate.Task;
import dev.laco.evaluate.TaskComparison;
import dev.laco.evaluate.TaskResult;
import dev.laco.evaluate.TaskResults;
import dev.laco.evaluate.TextComparison;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Locale;

/** The page of tasks: how good a model is, and what pruned models lost, the worst tasks first. */
final class TasksPage {
  private final EvaluateResult.OfTasks result;
  private final List<String> says = new ArrayList<>();
  private final List<Fact> facts = new ArrayList<>();
  private final List<Picture> pictures = new ArrayList<>();
  private final List<Table> tables = new ArrayList<>();

  private TasksPage(EvaluateResult.OfTasks result) {
    this.result = result;
  }

  /** The page. */
  static PicturesPage of(
      EvaluateResult.OfTasks result, PicturesPage.Made made, PicturesPage.Next next) {
    TasksPage page = new TasksPage(result);
    Path dense = result.results().model();
    if (result.against().isEmpty()) {
      page.alone();
    } else {
      result.against().forEach(page::compared);
    }
    if (result.text() != null) {
      page.perplexity(result.text());
    }
    if (result.throughput() != null) {
      page.pictures.addAll(ThroughputLines.speedups(result.throughput()));
      page.tables.add(ThroughputLines.table("Tokens per second", result.throughput()));
    }
    return new PicturesPage(
        Model.name(dense)
            + (result.against().isEmpty() ? ": what it can do" : ": what pruning lost"),
        made,
        page.says,
        page.facts,
        next,
        page.pictures,
        page.tables,
        "All numbers: the same command with --json; every item and answer: --out FOLDER.");
  }

  private void alone() {
    TaskResults results = result.results();
    says.add(
        format(
            "%,d items of %s: %s.",
            results.tasks().stream().mapToLong(TaskResult::items).sum(),
            counted(results.tasks().size(), "task"),
            results.model()));
    for (Task.Group group : result.groups()) {
      facts.add(new Fact("mean of " + group.name(), TaskLines.percent(results.accuracy(group))));
    }
    List<IntervalChart.Row> rows = new ArrayList<>();
    List<List<String>> cells = new ArrayList<>();
    for (TaskResult task : results.tasks()) {
      for (Metric metric : task.metrics()) {
        String label = task.task().name() + " " + metric.name();
        if (Metric.isRate(metric.name())) {
          Interval interval = metric.interval();
          rows.add(
              new IntervalChart.Row(
                  label,
                  100 * metric.value(),
                  100 * interval.low(),
                  100 * interval.high(),
                  metric.isShare() ? 100 * task.chance() : Double.NaN));
        }
        cells.add(
            List.of(
                task.task().name(),
                metric.name(),
                TaskLines.value(metric.name(), metric.value()),
                TaskLines.value(metric.name(), metric.standardError()),
                metric.isShare() ? TaskLines.percent(task.chance()) : "",
                TaskLines.items(task)));
      }
    }
    if (!rows.isEmpty()) {
      pictures.add(
          new Picture(
              "Shares of the tasks",
              new IntervalChart("Shares of the tasks", "percent", rows, false, 0, "chance").svg(),
              "Each share with its 95 % interval. Who guesses reaches the hollow mark."));
    }
    tables.add(
        new Table(
            "All metrics", List.of("task", "metric", "value", "error", "chance", "items"), cells));
  }

  private void perplexity(EvaluateResult.OfText text) {
    List<List<String>> cells = new ArrayList<>();
    String dense = Model.name(result.results().model());
    cells.add(List.of(dense, format("%.3f", text.perplexity().perplexity()), "", ""));
    for (TextComparison other : text.against()) {
      cells.add(
          List.of(
              Model.name(other.pruned()),
              format("%.3f", other.perplexity().perplexity()),
              TaskLines.times(other.ratio()),
              TaskLines.range(other.interval())));
    }
    tables.add(
        new Table(
            format("Perplexity on %,d tokens of %s", text.perplexity().tokens(), text.text()),
            List.of("model", "perplexity", "to the dense model", "95 % interval"),
            cells));
  }

  private void compared(TaskComparison comparison) {
    String name = Model.name(comparison.pruned().model());
    List<TaskComparison.OfTask> worst =
        comparison.tasks().stream()
            .sorted(Comparator.comparingDouble(task -> badness(TaskLines.primary(task))))
            .toList();
    summary(comparison, name, worst);
    String whose = result.against().size() == 1 ? "" : ", " + name;
    changes(worst, whose);
    flips(worst, whose);
    table(worst, comparison, whose);
  }

  /** Ascending from the worst loss: shares by their change, others by their ratio. */
  private static double badness(PairedComparison of) {
    return Metric.isShare(of.metric())
        ? of.pruned() - of.dense()
        : Metric.isRate(of.metric()) ? of.dense() - of.pruned() : -Math.log(of.kept());
  }

  private void summary(TaskComparison comparison, String name, List<TaskComparison.OfTask> worst) {
    says.add(
        format(
            "%s beside %s, on the same items: %s",
            name, Model.name(result.results().model()), TaskLines.lost(comparison)));
    List<McNemar> flips = TaskLines.flips(comparison);
    long lost = flips.stream().mapToLong(McNemar::lost).sum();
    long won = flips.stream().mapToLong(McNemar::won).sum();
    if (result.against().size() == 1) {
      facts.add(new Fact("right → wrong", format("%,d", lost)));
      facts.add(new Fact("wrong → right", format("%,d", won)));
      facts.add(new Fact("worst task", worst.getFirst().task().name()));
      for (TaskComparison.OfGroup group : comparison.groups()) {
        kept(group.group().name() + " kept", group.ratioOfMeans());
        kept(group.group().name() + " kept beyond chance", group.keptBeyondChance());
      }
    }
  }

  private void kept(String name, double share) {
    if (Double.isFinite(share)) {
      facts.add(new Fact(name, TaskLines.percent(share)));
    }
  }

  private void changes(List<TaskComparison.OfTask> worst, String whose) {
    List<IntervalChart.Row> rates = new ArrayList<>();
    List<IntervalChart.Row> ratios = new ArrayList<>();
    for (TaskComparison.OfTask task : worst) {
      for (PairedComparison of : task.metrics()) {
        String label = task.task().name() + " " + of.metric();
        if (Metric.isRate(of.metric())) {
          rates.add(
              new IntervalChart.Row(
                  label,
                  100 * (of.pruned() - of.dense()),
                  100 * of.interval().low(),
                  100 * of.interval().high(),
                  Double.NaN));
        } else {
          ratios.add(
              new IntervalChart.Row(
                  label, of.kept(), of.interval().low(), of.interval().high(), Double.NaN));
        }
      }
    }
    if (!rates.isEmpty()) {
      pictures.add(
          new Picture(
              "Change of every task" + whose,
              new IntervalChart(
                      "Change of every task" + whose,
                      "points of a hundred, pruned minus dense",
                      rates,
                      false,
                      0,
                      "")
                  .svg(),
              "The worst task first, with the 95 % interval of the change on the same items. An"
                  + " interval that holds 0 may be chance."));
    }
    if (!ratios.isEmpty()) {
      pictures.add(
          new Picture(
              "Change of perplexities" + whose,
              new IntervalChart(
                      "Change of perplexities" + whose, "pruned / dense", ratios, true, 1, "")
                  .svg(),
              "Above 1 the pruned model predicts worse; with the 95 % interval of the ratio."));
    }
  }

  private void flips(List<TaskComparison.OfTask> worst, String whose) {
    List<TwoSidedBars.Row> rows = new ArrayList<>();
    for (TaskComparison.OfTask task : worst) {
      McNemar flips = TaskLines.primary(task).flips();
      if (flips != null) {
        rows.add(new TwoSidedBars.Row(task.task().name(), flips.lost(), flips.won()));
      }
    }
    if (!rows.isEmpty()) {
      pictures.add(
          new Picture(
              "Answers that changed" + whose,
              new TwoSidedBars(
                      "Answers that changed" + whose, "right → wrong", "wrong → right", rows)
                  .svg(),
              "Items that only one of the models gets right, by the first share of each task."
                  + " Bars of the same length mean that the models are equally good."));
    }
  }

  private void table(List<TaskComparison.OfTask> worst, TaskComparison comparison, String whose) {
    List<List<String>> cells = new ArrayList<>();
    for (TaskComparison.OfTask task : worst) {
      TaskResult dense = result.results().task(task.task().name());
      TaskResult pruned = comparison.pruned().task(task.task().name());
      for (PairedComparison of : task.metrics()) {
        Metric before = dense.metric(of.metric());
        Metric after = pruned.metric(of.metric());
        List<String> row = new ArrayList<>();
        row.add(task.task().name());
        row.add(of.metric());
        row.add(format("%,d", dense.items()));
        row.add(withError(before));
        row.add(withError(after));
        row.add(of.flips() == null ? "" : TaskLines.percent(of.chance()));
        row.addAll(TaskLines.change(of));
        cells.add(row);
      }
    }
    List<String> columns =
        new ArrayList<>(
            List.of("task", "metric", "items", "dense ± error", "pruned ± error", "chance"));
    columns.addAll(TaskLines.CHANGE);
    tables.add(new Table("All metrics" + whose, columns, cells));
  }

  private static String withError(Metric metric) {
    String value = TaskLines.value(metric.name(), metric.value());
    return Double.isFinite(metric.standardError())
        ? value + " ± " + TaskLines.value(metric.name(), metric.standardError())
        : value;
  }

  private static String counted(long count, String noun) {
    return count + " " + noun + (count == 1 ? "" : "s");
  }

  private static String format(String format, Object... values) {
    return String.format(Locale.ROOT, format, values);
  }
}
