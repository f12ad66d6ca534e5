package dev.laco.cli;

import dev.laco.ByteSize;
import dev.laco.compare.Strategy;
import dev.laco.curve.CurveResult;
import dev.laco.curve.CurveResult.Dense;
import dev.laco.curve.CurveResult.Peer;
import dev.laco.curve.CurveResult.Point;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import java.util.stream.Collectors;

/** What people see of a curve over sizes: a table, and one of the strategies beside it. */
final class SweepLines {
  private static final String FORM = "%6s  %10s  %8s  %8s  %10s  %9s  %9s  %7s  %s%n";

  /** What stands in the columns of the table. */
  static final List<String> COLUMNS =
      List.of(
          "layers",
          "perplexity",
          "to dense",
          "kl",
          "similarity",
          "weights",
          "tokens/s",
          "speedup",
          "layers kept");

  private SweepLines() {}

  /** The tables. */
  static String of(CurveResult result) {
    StringBuilder text = new StringBuilder();
    text.append(String.format(Locale.ROOT, FORM, COLUMNS.toArray()));
    rows(result).forEach(row -> text.append(String.format(Locale.ROOT, FORM, row.toArray())));
    if (result.points().size() > 1) {
      text.append(
          String.format(
              Locale.ROOT,
              "%n%s perplexity to dense, %d to %d layers%n",
              Sparkline.of(
                  result.points().stream().map(point -> result.ratio(point.fidelity())).toList()),
              result.points().getFirst().layers(),
              result.points().getLast().layers()));
    }
    if (!result.peers().isEmpty()) {
      peers(text, result);
    }
    return text.toString();
  }

  /**
   * What the models of the sweep are called beside those of strategies, each of which has a name.
   */
  static String ownName(CurveResult result) {
    String usual = Strategy.DEFAULT.label();
    return result.peers().stream().anyMatch(peer -> peer.strategy().equals(usual))
        ? "sweep"
        : usual;
  }

  /** The original and the pruned models, a cell for each of {@link #COLUMNS}. */
  static List<List<String>> rows(CurveResult result) {
    Dense dense = result.dense();
    List<List<String>> rows = new ArrayList<>();
    rows.add(
        List.of(
            Integer.toString(dense.layers()),
            two(dense.perplexity().perplexity()),
            "x1.000",
            "0.0000",
            "1.0000",
            ByteSize.show(dense.bytes()),
            "",
            "x1.00",
            "all"));
    Optional<Point> knee = result.knee();
    for (Point point : result.points()) {
      rows.add(
          List.of(
              Integer.toString(point.layers()),
              two(point.fidelity().perplexity().perplexity()),
              ratio(result.ratio(point.fidelity())),
              four(point.fidelity().divergence()),
              four(point.fidelity().similarity()),
              ByteSize.show(point.bytes()),
              String.format(Locale.ROOT, "%,.0f", point.tokensPerSecond()),
              String.format(Locale.ROOT, "x%.2f", point.speedup()),
              point.kept() + (knee.filter(point::equals).isPresent() ? "  (knee)" : "")));
    }
    return rows;
  }

  /** Perplexity relative to the original's: a line a size, a column a strategy. */
  private static void peers(StringBuilder text, CurveResult result) {
    List<String> names = result.peers().stream().map(Peer::strategy).distinct().sorted().toList();
    text.append(String.format(Locale.ROOT, "%n%6s  %15s", "layers", ownName(result)));
    names.forEach(name -> text.append(String.format(Locale.ROOT, "  %15s", name)));
    text.append(System.lineSeparator());
    for (Point point : result.points()) {
      Map<String, Peer> here =
          result.peers().stream()
              .filter(peer -> peer.layers() == point.layers())
              .collect(Collectors.toMap(Peer::strategy, peer -> peer, (a, b) -> a, TreeMap::new));
      text.append(
          String.format(
              Locale.ROOT, "%6d  %15s", point.layers(), ratio(result.ratio(point.fidelity()))));
      for (String name : names) {
        Peer peer = here.get(name);
        text.append(
            String.format(
                Locale.ROOT, "  %15s", peer == null ? "-" : ratio(result.ratio(peer.fidelity()))));
      }
      text.append(System.lineSeparator());
    }
  }

  private static String two(double value) {
    return String.format(Locale.ROOT, "%.2f", value);
  }

  private static String four(double value) {
    return String.format(Locale.ROOT, "%.4f", value);
  }

  private static String ratio(double value) {
    return String.format(Locale.ROOT, "x%.3f", value);
  }
}
