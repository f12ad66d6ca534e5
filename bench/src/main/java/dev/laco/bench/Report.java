package dev.laco.bench;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.SerializationFeature;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;
import org.openjdk.jmh.infra.BenchmarkParams;
import org.openjdk.jmh.results.Result;
import org.openjdk.jmh.results.RunResult;
import org.openjdk.jmh.util.Statistics;

/**
 * The results for people, as Markdown tables, and for programs.
 *
 * <p>A percentage compares like with like: the best time with the best sample of the ceiling, the
 * median with the median.
 */
final class Report {
  private static final double MEDIAN = 50;

  private final Machine machine;
  private final List<Row> rows;

  /**
   * A measured case.
   *
   * @param best seconds of the quickest invocation, or iteration where invocations are too short to
   *     be timed one by one
   * @param median seconds
   */
  record Row(
      String benchmark,
      Map<String, String> parameters,
      double best,
      double median,
      @Nullable Note note) {}

  Report(Machine machine, List<RunResult> results, Map<String, Note> notes) {
    this.machine = machine;
    this.rows =
        results.stream().map(result -> row(result, notes.get(result.getParams().id()))).toList();
  }

  private static Row row(RunResult result, @Nullable Note note) {
    BenchmarkParams params = result.getParams();
    Map<String, String> parameters = new LinkedHashMap<>();
    params.getParamsKeys().stream()
        .sorted()
        .forEach(key -> parameters.put(key, params.getParam(key)));
    Result<?> primary = result.getPrimaryResult();
    Statistics statistics = primary.getStatistics();
    double unit = params.getTimeUnit().toNanos(1) / 1e9;
    String name = params.getBenchmark();
    return new Row(
        name.substring(name.lastIndexOf('.') + 1),
        parameters,
        statistics.getMin() * unit,
        statistics.getPercentile(MEDIAN) * unit,
        note);
  }

  String json() throws JsonProcessingException {
    return new ObjectMapper()
            .enable(SerializationFeature.INDENT_OUTPUT)
            .writeValueAsString(Map.of("machine", machine, "cases", rows))
        + "\n";
  }

  String text() {
    StringBuilder text = new StringBuilder();
    text.append(
        String.format(
            Locale.ROOT,
            "%n%s, %d cores, load %.1f before; %s; JDK %s%ncommit %s, %s, %s%n",
            machine.processor(),
            machine.cores(),
            machine.loadBefore(),
            machine.system(),
            machine.jdk(),
            machine.commit(),
            machine.command(),
            machine.started()));
    rows.stream()
        .collect(Collectors.groupingBy(Row::benchmark, LinkedHashMap::new, Collectors.toList()))
        .forEach((benchmark, group) -> table(benchmark, group, text));
    return text.toString();
  }

  private static void table(String benchmark, List<Row> group, StringBuilder text) {
    List<String> header = new ArrayList<>(group.getFirst().parameters().keySet());
    header.addAll(List.of("best", "median", "bytes", "operations", "GB/s", "GFLOP/s"));
    List<Note.Rates> ceilings = ceilings(group.getFirst());
    ceilings.forEach(ceiling -> header.add("% of " + ceiling.name()));
    List<List<String>> lines = new ArrayList<>();
    lines.add(header);
    group.forEach(row -> lines.add(line(row)));
    text.append("\n### ").append(benchmark).append("\n\n");
    markdown(lines, text);
    group.forEach(row -> shares(row, text));
  }

  private static List<Note.Rates> ceilings(Row row) {
    return row.note() == null ? List.of() : row.note().ceilings();
  }

  private static List<String> line(Row row) {
    List<String> cells = new ArrayList<>(row.parameters().values());
    cells.add(time(row.best()));
    cells.add(time(row.median()));
    double bytes = row.note() == null ? 0 : row.note().bytes();
    double operations = row.note() == null ? 0 : row.note().operations();
    cells.add(amount(bytes));
    cells.add(amount(operations));
    cells.add(amount(bytes / row.best() / 1e9));
    cells.add(amount(operations / row.best() / 1e9));
    for (Note.Rates ceiling : ceilings(row)) {
      double work = (ceiling.unit() == Ceiling.Unit.BYTES ? bytes : operations) / 1e9;
      List<Double> samples = ceiling.samples().stream().sorted().toList();
      double most = Collections.max(samples);
      cells.add(
          String.format(
              Locale.ROOT,
              "%.0f / %.0f of %.3g %s",
              100 * work / row.best() / most,
              100 * work / row.median() / samples.get(samples.size() / 2),
              most,
              ceiling.unit().displayName()));
    }
    return cells;
  }

  /** Where the time of an invocation went. */
  private static void shares(Row row, StringBuilder text) {
    if (row.note() == null || row.note().seconds().isEmpty()) {
      return;
    }
    double total = row.note().seconds().values().stream().mapToDouble(Double::doubleValue).sum();
    text.append("\n").append(String.join(", ", row.parameters().values())).append(": ");
    text.append(
        row.note().seconds().entrySet().stream()
            .sorted(Map.Entry.comparingByValue(Comparator.reverseOrder()))
            .map(
                e ->
                    String.format(
                        Locale.ROOT, "%s %.1f %%", e.getKey(), 100 * e.getValue() / total))
            .collect(Collectors.joining(", ")));
    text.append("\n");
  }

  private static void markdown(List<List<String>> lines, StringBuilder text) {
    int columns = lines.stream().mapToInt(List::size).max().orElse(0);
    int[] widths = new int[columns];
    for (List<String> line : lines) {
      for (int c = 0; c < line.size(); c++) {
        widths[c] = Math.max(widths[c], line.get(c).length());
      }
    }
    for (int l = 0; l < lines.size(); l++) {
      text.append('|');
      for (int c = 0; c < columns; c++) {
        String cell = c < lines.get(l).size() ? lines.get(l).get(c) : "";
        text.append(' ').append(cell).append(" ".repeat(widths[c] - cell.length())).append(" |");
      }
      text.append('\n');
      if (l == 0) {
        text.append('|');
        Arrays.stream(widths).forEach(width -> text.append("-".repeat(width + 2)).append('|'));
        text.append('\n');
      }
    }
  }

  private static String time(double seconds) {
    if (seconds < 1e-6) {
      return String.format(Locale.ROOT, "%.3g ns", seconds * 1e9);
    }
    if (seconds < 1e-3) {
      return String.format(Locale.ROOT, "%.3g us", seconds * 1e6);
    }
    return String.format(Locale.ROOT, "%.3g ms", seconds * 1e3);
  }

  /** Three significant digits, with the field's prefixes; empty for nothing. */
  private static String amount(double value) {
    if (value == 0) {
      return "";
    }
    if (value >= 1e9) {
      return String.format(Locale.ROOT, "%.3g G", value / 1e9);
    }
    return value >= 1e6
        ? String.format(Locale.ROOT, "%.3g M", value / 1e6)
        : String.format(Locale.ROOT, "%.3g", value);
  }
}
