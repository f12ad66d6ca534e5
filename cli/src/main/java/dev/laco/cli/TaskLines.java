package dev.laco.cli;

import dev.laco.evaluate.EvaluateResult;
import dev.laco.evaluate.Metric;
import dev.laco.evaluate.Task;
import dev.laco.evaluate.TaskResult;
import java.util.Locale;

/** What people see of tasks: a table with a line for each metric. */
final class TaskLines {
  private static final String FORM = "%-15s  %-10s  %9s  %8s  %s%n";

  private TaskLines() {}

  static String of(EvaluateResult.OfTasks result) {
    StringBuilder table =
        new StringBuilder(
            String.format(Locale.ROOT, FORM, "task", "metric", "value", "error", "items"));
    for (TaskResult task : result.tasks()) {
      String name = task.task().name();
      for (Metric metric : task.metrics()) {
        table.append(
            String.format(
                Locale.ROOT,
                FORM,
                name,
                metric.name(),
                value(metric, metric.value()),
                value(metric, metric.standardError()),
                name.isEmpty() ? "" : items(task)));
        name = "";
      }
    }
    for (Task.Group group : result.groups()) {
      table.append(
          String.format(
              Locale.ROOT,
              FORM,
              group.name(),
              Metric.ACCURACY,
              percent(result.accuracy(group)),
              "",
              "mean of " + String.join(", ", group.tasks())));
    }
    return table.toString().replaceAll("(?m) +$", "");
  }

  private static String items(TaskResult task) {
    String of = task.items() < task.available() ? "the first %,d of %,d in %s" : "%,d in %3$s";
    return String.format(
        Locale.ROOT, of, task.items(), task.available(), task.file().getFileName());
  }

  private static String value(Metric metric, double value) {
    if (Double.isNaN(value)) {
      return "-";
    }
    return metric.higherIsBetter() ? percent(value) : String.format(Locale.ROOT, "%.3f", value);
  }

  private static String percent(double share) {
    return String.format(Locale.ROOT, "%.2f %%", 100 * share);
  }
}
