package dev.laco.cli.chart;

import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Locale;
import java.util.SequencedSet;

/**
 * What steps leave of 1, a line a case: a bar for the whole, off which each step takes a piece from
 * the right. The grey rest at the left is what is left.
 *
 * @param title what is shown
 * @param x what the lengths are
 * @param rows at least one
 */
public record Waterfall(String title, String x, List<Row> rows) {
  private static final double LEFT = 90;
  private static final double WIDTH = 520;
  private static final double TOP = 48;
  private static final double LINE = 24;
  private static final double LEGEND = 200;
  private static final int LEGEND_COLUMNS = 3;

  /** A case with its steps in their order. */
  public record Row(String label, List<Step> steps) {
    /** A case with a copy of its steps. */
    public Row {
      steps = List.copyOf(steps);
    }
  }

  /** A step and what it leaves of the whole; more than the step before it where it makes worse. */
  public record Step(String name, double left) {}

  /** A chart with a copy of its lines. */
  public Waterfall {
    rows = List.copyOf(rows);
  }

  /** The SVG document. */
  public String svg() {
    double most =
        Math.max(
            1,
            rows.stream()
                .flatMap(row -> row.steps.stream())
                .mapToDouble(Step::left)
                .filter(Double::isFinite)
                .max()
                .orElse(1));
    Axis across = new Axis(0, most, false);
    SequencedSet<String> names = new LinkedHashSet<>();
    rows.forEach(row -> row.steps.forEach(step -> names.add(step.name)));
    List<String> legend = new ArrayList<>(names);
    double bottom = TOP + LINE * rows.size() + 6;
    Picture picture =
        new Picture(
            LEFT + WIDTH + 70,
            bottom + 62 + 20 * Math.ceilDiv(legend.size() + 1, LEGEND_COLUMNS),
            title,
            String.format(
                Locale.ROOT, "%d bars: %s, and what each step took off.", rows.size(), x));
    for (double tick : across.ticks()) {
      double at = LEFT + WIDTH * across.at(tick);
      picture.add("<path class=\"grid\" d=\"M%.1f %.1fV%.1f\"/>", at, TOP - 6, bottom);
      picture.text(at, bottom + 18, "tick", "middle", Picture.number(tick));
    }
    picture.text(LEFT + WIDTH, bottom + 38, "", "end", x);
    for (int i = 0; i < rows.size(); i++) {
      row(picture, rows.get(i), TOP + LINE * i, across, legend);
    }
    legend.add(0, "left");
    for (int i = 0; i < legend.size(); i++) {
      double lineX = LEFT + LEGEND * (i % LEGEND_COLUMNS);
      double lineY = bottom + 52 + 20 * (i / LEGEND_COLUMNS);
      bar(picture, lineX, lineY, 14, 14, i == 0 ? -1 : i - 1, legend.get(i));
      picture.text(lineX + 20, lineY + 11, "", "start", legend.get(i));
    }
    return picture.svg();
  }

  private static void row(Picture picture, Row row, double top, Axis across, List<String> legend) {
    picture.text(LEFT - 10, top + 16, "tick", "end", row.label);
    double before = 1;
    double low = 1;
    for (Step step : row.steps) {
      double from = LEFT + WIDTH * across.at(Math.min(before, step.left));
      double to = LEFT + WIDTH * across.at(Math.max(before, step.left));
      bar(
          picture,
          from,
          top + 4,
          to - from,
          16,
          legend.indexOf(step.name),
          row.label
              + ", "
              + step.name
              + ": "
              + Picture.number(before)
              + " → "
              + Picture.number(step.left));
      before = step.left;
      low = Math.min(low, before);
    }
    double left = WIDTH * across.at(low);
    bar(picture, LEFT, top + 4, left, 16, -1, row.label + ": " + Picture.number(before));
    picture.text(LEFT + WIDTH + 10, top + 16, "tick", "start", Picture.number(before));
  }

  private static void bar(
      Picture picture, double x, double y, double width, double height, int colour, String says) {
    picture.add(
        "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" %s><title>%s</title></rect>",
        x,
        y,
        width,
        height,
        colour < 0
            ? "class=\"left\""
            : "fill=\"" + LineChart.COLOURS.get(colour % LineChart.COLOURS.size()) + "\"",
        Picture.escaped(says));
  }
}
