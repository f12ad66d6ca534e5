package dev.laco.bench.gpu;

import dev.laco.bench.Note;
import dev.laco.bench.Report;
import dev.laco.bench.Target;
import dev.laco.bench.Times;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/** What was measured, as rows of a report and as lines of a file, and what went wrong. */
final class Results {
  private final BenchDevice device;
  private final ResultLog log;
  private final List<Report.Row> rows = new ArrayList<>();
  private int failures;

  Results(BenchDevice device, ResultLog log) {
    this.device = device;
    this.log = log;
  }

  List<Report.Row> rows() {
    return rows;
  }

  /** How often something did not do what it should. */
  int failures() {
    return failures;
  }

  /** Says and counts something that does not do what it should. */
  void fail(String what) {
    System.err.println("gpu-bench: " + what);
    failures++;
  }

  /**
   * Begins a result.
   *
   * @param namesAndValues what tells the case from others of the benchmark, in this order
   */
  Result of(String benchmark, Times times, String... namesAndValues) {
    Map<String, String> parameters = new LinkedHashMap<>();
    for (int i = 0; i < namesAndValues.length; i += 2) {
      parameters.put(namesAndValues[i], namesAndValues[i + 1]);
    }
    return new Result(benchmark, times, parameters);
  }

  /** A result of which more and more is said until it is added. */
  final class Result {
    private final String benchmark;
    private final Times times;
    private final Map<String, String> parameters;
    private final Map<String, Object> facts = new LinkedHashMap<>();
    private double bytes;
    private double operations;
    private List<Note.Rates> bounds = List.of();
    private Map<String, Double> parts = Map.of();
    private @Nullable Target target;

    private Result(String benchmark, Times times, Map<String, String> parameters) {
      this.benchmark = benchmark;
      this.times = times;
      this.parameters = parameters;
    }

    /** Bytes that must be moved and operations that must be done. */
    Result work(double bytesMoved, double operationsDone) {
      bytes = bytesMoved;
      operations = operationsDone;
      return this;
    }

    /** Ceilings, the one that a target names first. */
    Result within(List<Note.Rates> ceilings) {
      bounds = ceilings;
      return this;
    }

    /** Where the time went, in seconds. */
    Result of(Map<String, Double> seconds) {
      parts = seconds;
      return this;
    }

    /** What the project wants. What an emulation takes is held against nothing. */
    Result wanted(@Nullable Target wanted) {
      target = device.isEmulated() ? null : wanted;
      return this;
    }

    /** Something else that is known, for a column and for the file. */
    Result with(String name, Object value) {
      facts.put(name, value);
      return this;
    }

    /** How the card was, if it was watched. */
    Result clocks(Optional<Watch.Card> card) {
      card.ifPresent(known -> facts.put("clocks", known));
      return this;
    }

    void add() {
      Note note =
          new Note(
              benchmark + parameters, device.toString(), bytes, operations, bounds, parts, target);
      Report.Row row = new Report.Row(benchmark, parameters, times, facts, note);
      rows.add(row);
      log.add(row);
    }
  }
}
