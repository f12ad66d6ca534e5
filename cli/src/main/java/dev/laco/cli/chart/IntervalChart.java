package dev.laco.cli.chart;

import java.util.List;
import java.util.Locale;
import java.util.stream.DoubleStream;

/**
 * Values with intervals, one a line, the first at the top: a point, and a bar from the lower to the
 * upper end of its interval.
 *
 * @param title what is shown
 * @param x what the values are, with their unit
 * @param rows at least one
 * @param log whether equal lengths are equal ratios
 * @param reference the value of a dashed line
 * @param other what the hollow mark of a row is; empty where no row has one
 */
public record IntervalChart(
    String title, String x, List<Row> rows, boolean log, double reference, String other) {
  private static final double LEFT = 220;
  private static final double WIDTH = 440;
  private static final double TOP = 48;
  private static final double LINE = 24;

  /**
   * A line.
   *
   * @param label what the value is of
   * @param value NaN for none
   * @param low the lower end of its interval; NaN for none
   * @param high the upper end; NaN for none
   * @param other a value beside it, as a hollow mark; NaN for none
   */
  public record Row(String label, double value, double low, double high, double other) {
    /** A value without an interval. */
    public Row(String label, double value) {
      this(label, value, Double.NaN, Double.NaN, Double.NaN);
    }
  }

  /** A chart with a copy of its lines. */
  public IntervalChart {
    rows = List.copyOf(rows);
  }

  /** The SVG document. */
  public String svg() {
    double[] all =
        DoubleStream.concat(
                DoubleStream.of(reference),
                rows.stream()
                    .flatMapToDouble(
                        row -> DoubleStream.of(row.value, row.low, row.high, row.other)))
            .toArray();
    Axis across = Axis.of(all, log);
    double bottom = TOP + LINE * rows.size() + 6;
    Picture picture =
        new Picture(
            LEFT + WIDTH + 90,
            bottom + (other.isEmpty() ? 48 : 72),
            title,
            String.format(
                Locale.ROOT,
                "%d values with intervals: %s, the first at the top.",
                rows.size(),
                x));
    for (double tick : across.ticks()) {
      double at = LEFT + WIDTH * across.at(tick);
      picture.add("<path class=\"grid\" d=\"M%.1f %.1fV%.1f\"/>", at, TOP - 6, bottom);
      picture.text(at, bottom + 18, "tick", "middle", Picture.number(tick));
    }
    picture.add("<path class=\"axis\" d=\"M%.1f %.1fh%.1f\"/>", LEFT, bottom, WIDTH);
    picture.add(
        "<path class=\"axis\" stroke-dasharray=\"5 4\" d=\"M%.1f %.1fV%.1f\"/>",
        LEFT + WIDTH * across.at(reference), TOP - 6, bottom);
    picture.text(LEFT + WIDTH, bottom + 38, "", "end", x);
    for (int i = 0; i < rows.size(); i++) {
      row(picture, rows.get(i), TOP + LINE * (i + 0.5), across);
    }
    if (!other.isEmpty()) {
      hollow(picture, LEFT + 6, bottom + 54, other);
      picture.text(LEFT + 18, bottom + 58, "", "start", other);
    }
    return picture.svg();
  }

  private void row(Picture picture, Row row, double y, Axis across) {
    picture.text(LEFT - 10, y + 4, "", "end", row.label);
    if (Double.isFinite(row.low) && Double.isFinite(row.high)) {
      double from = LEFT + WIDTH * across.at(row.low);
      picture.add(
          "<path class=\"line\" stroke=\"#0072b2\" d=\"M%.1f %.1fH%.1fM%.1f %.1fv8M%.1f %.1fv8\"/>",
          from,
          y,
          LEFT + WIDTH * across.at(row.high),
          from,
          y - 4,
          LEFT + WIDTH * across.at(row.high),
          y - 4);
    }
    if (Double.isFinite(row.other)) {
      hollow(
          picture,
          LEFT + WIDTH * across.at(row.other),
          y,
          row.label + ", " + other + ": " + Picture.number(row.other));
    }
    if (Double.isFinite(row.value)) {
      picture.add(
          "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"4.5\" fill=\"#0072b2\"><title>%s</title></circle>",
          LEFT + WIDTH * across.at(row.value),
          y,
          Picture.escaped(row.label + ": " + Picture.number(row.value)));
      picture.text(LEFT + WIDTH + 14, y + 4, "tick", "start", Picture.number(row.value));
    }
  }

  private static void hollow(Picture picture, double x, double y, String says) {
    picture.add(
        "<path class=\"hollow\" d=\"M%.1f %.1fl5 5l-5 5l-5 -5Z\"><title>%s</title></path>",
        x, y - 5, Picture.escaped(says));
  }
}
