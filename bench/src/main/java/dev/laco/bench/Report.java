package dev.laco.bench;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.SerializationFeature;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/**
 * The results for people, as Markdown tables, and for programs.
 *
 * <p>A percentage compares like with like: the best time with the best sample of the ceiling, the
 * median with the median.
 */
public final class Report {
  private static final String TARGET = "target";

  private final Machine machine;
  private final List<Row> rows;

  /**
   * A measured case.
   *
   * @param times of invocations, or of iterations where invocations are too short to be timed one
   *     by one
   * @param facts what else is known of the case, by what a column and a key of JSON call it
   */
  public record Row(
      String benchmark,
      Map<String, String> parameters,
      Times times,
      Map<String, Object> facts,
      @Nullable Note note) {
    double best() {
      return times.best();
    }

    double median() {
      return times.median();
    }

    /** What was measured beside it, the ceiling that a target names first. */
    List<Note.Rates> ceilings() {
      return note == null ? List.of() : note.ceilings();
    }

    /** What a line of results says: seconds, bytes, operations, ceilings, target. */
    public Map<String, Object> summary() {
      Map<String, Object> summary = new LinkedHashMap<>();
      summary.put("best", times.best());
      summary.put("p10", times.p10());
      summary.put("median", times.median());
      summary.put("p90", times.p90());
      summary.put("n", times.n());
      summary.put("samples", times.samples());
      summary.put("bytes", work(Ceiling.Unit.BYTES));
      summary.put("operations", work(Ceiling.Unit.OPERATIONS));
      summary.put("ceilings", ceilings().stream().map(this::summary).toList());
      Target target = note == null ? null : note.target();
      if (target != null) {
        summary.put("target", target.toString());
        summary.put("met", target.isMet(this));
      }
      if (note != null && !note.seconds().isEmpty()) {
        summary.put("seconds", note.seconds());
      }
      summary.putAll(facts);
      return summary;
    }

    private Map<String, Object> summary(Note.Rates ceiling) {
      Map<String, Object> summary = new LinkedHashMap<>();
      summary.put("name", ceiling.name());
      summary.put("unit", ceiling.unit().displayName());
      summary.put("best", ceiling.best());
      summary.put("median", ceiling.median());
      summary.put("shareOfMedian", ofMedian(ceiling));
      return summary;
    }

    /** The best time's share of the ceiling's best. */
    double ofBest(Note.Rates ceiling) {
      return work(ceiling.unit()) / best() / 1e9 / ceiling.best();
    }

    /** The median's share of the ceiling's median. */
    double ofMedian(Note.Rates ceiling) {
      return work(ceiling.unit()) / median() / 1e9 / ceiling.median();
    }

    /** What must be done, as a ceiling of the unit counts it. */
    double work(Ceiling.Unit unit) {
      if (note == null) {
        return 0;
      }
      return unit == Ceiling.Unit.BYTES ? note.bytes() : note.operations();
    }
  }

  public Report(Machine machine, List<Row> rows) {
    this.machine = machine;
    this.rows = List.copyOf(rows);
  }

  String json() throws JsonProcessingException {
    return new ObjectMapper()
            .enable(SerializationFeature.INDENT_OUTPUT)
            .writeValueAsString(Map.of("machine", machine, "cases", rows))
        + "\n";
  }

  /** Markdown tables, one for each benchmark. */
  public String text() {
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
        .flatMap(row -> Stream.ofNullable(row.note()))
        .map(Note::device)
        .distinct()
        .forEach(device -> text.append(device).append('\n'));
    rows.stream()
        .collect(Collectors.groupingBy(Group::of, LinkedHashMap::new, Collectors.toList()))
        .values()
        .forEach(group -> table(group, text));
    return text.toString();
  }

  /** Rows of one table. */
  private record Group(String benchmark, Set<String> parameters, List<Ceiling.Unit> ceilings) {
    static Group of(Row row) {
      return new Group(
          row.benchmark(),
          row.parameters().keySet(),
          row.ceilings().stream().map(Note.Rates::unit).toList());
    }
  }

  private static void table(List<Row> group, StringBuilder text) {
    Row first = group.getFirst();
    List<String> header = new ArrayList<>(first.parameters().keySet());
    header.addAll(List.of("best", "median", "bytes", "operations", "GB/s", "GFLOP/s"));
    List<String> names = ceilingNames(group);
    for (int i = 0; i < names.size(); i++) {
      boolean same = !names.get(i).isEmpty();
      header.add("% of " + (same ? names.get(i) : first.ceilings().get(i).unit().ceiling()));
    }
    if (group.stream().anyMatch(row -> target(row) != null)) {
      header.add(TARGET);
    }
    List<String> facts =
        group.stream().flatMap(row -> row.facts().keySet().stream()).distinct().toList();
    header.addAll(facts);
    List<List<String>> lines = new ArrayList<>();
    lines.add(header);
    boolean targets = header.contains(TARGET);
    group.forEach(row -> lines.add(line(row, names, targets, facts)));
    text.append("\n### ").append(first.benchmark()).append("\n\n");
    markdown(lines, text);
    group.forEach(row -> shares(row, text));
  }

  /** What the ceilings of all rows are called, empty where rows have different ones. */
  private static List<String> ceilingNames(List<Row> group) {
    List<String> names = new ArrayList<>();
    for (int i = 0; i < group.getFirst().ceilings().size(); i++) {
      int column = i;
      Set<String> all =
          group.stream().map(row -> row.ceilings().get(column).name()).collect(Collectors.toSet());
      names.add(all.size() == 1 ? all.iterator().next() : "");
    }
    return names;
  }

  private static @Nullable Target target(Row row) {
    return row.note() == null ? null : row.note().target();
  }

  private static List<String> line(
      Row row, List<String> names, boolean targets, List<String> facts) {
    List<String> cells = new ArrayList<>(row.parameters().values());
    cells.add(time(row.best()));
    cells.add(time(row.median()));
    double bytes = row.work(Ceiling.Unit.BYTES);
    double operations = row.work(Ceiling.Unit.OPERATIONS);
    cells.add(amount(bytes));
    cells.add(amount(operations));
    cells.add(amount(bytes / row.best() / 1e9));
    cells.add(amount(operations / row.best() / 1e9));
    for (int i = 0; i < names.size(); i++) {
      Note.Rates ceiling = row.ceilings().get(i);
      cells.add(
          String.format(
              Locale.ROOT,
              "%.0f / %.0f of %s %s%s",
              100 * row.ofBest(ceiling),
              100 * row.ofMedian(ceiling),
              amount(ceiling.best()),
              ceiling.unit().displayName(),
              names.get(i).isEmpty() ? ", " + ceiling.name() : ""));
    }
    if (targets) {
      Target target = target(row);
      cells.add(target == null ? "" : target + (target.isMet(row) ? ": met" : ": MISSED"));
    }
    facts.forEach(fact -> cells.add(text(row.facts().getOrDefault(fact, ""))));
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
            .map(e -> e.getKey() + " " + time(e.getValue()) + percent(e.getValue() / total))
            .collect(Collectors.joining(", ")));
    text.append("\n");
  }

  private static String text(Object fact) {
    return fact instanceof Double number
        ? String.format(Locale.ROOT, "%.3f", number)
        : fact.toString();
  }

  /** Nothing where it is all. */
  private static String percent(double share) {
    return share == 1 ? "" : String.format(Locale.ROOT, " (%.1f %%)", 100 * share);
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

  /** Three significant digits. */
  static String time(double seconds) {
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
    if (value >= 1e6) {
      return String.format(Locale.ROOT, "%.3g M", value / 1e6);
    }
    return String.format(Locale.ROOT, value >= 1e3 ? "%.0f" : "%.3g", value);
  }
}
