package dev.laco.cli.chart;

import java.util.Arrays;
import java.util.List;
import java.util.Locale;

/**
 * A matrix as colours, from dark blue for low values to yellow for high ones: the scale cividis,
 * which looks alike to readers with and without colour blindness.
 *
 * @param title what is shown
 * @param rows what rows are; the first stands below
 * @param firstRow the number of the first row; columns are numbered from 0
 * @param columns what columns are
 * @param unit what the colours mean
 * @param values NaN where there is no value
 * @param log whether equal differences of colour are equal ratios
 * @param marked cells with a frame, as row and column, both from 0
 */
public record HeatMap(
    String title,
    String rows,
    int firstRow,
    String columns,
    String unit,
    List<List<Double>> values,
    boolean log,
    List<Cell> marked) {
  private static final int[] SCALE = {
    0x00224e, 0x123570, 0x3b496c, 0x575d6d, 0x707173, 0x8a8678, 0xa59c74, 0xc3b369, 0xe1cc55,
    0xfee838
  };

  private static final double SIDE = 440;
  private static final double LEFT = 60;
  private static final double TOP = 44;
  private static final int STEPS = 40;

  /** A cell, by row and column from 0. */
  public record Cell(int row, int column) {}

  /** A heat map with copies of its rows. */
  public HeatMap {
    values = values.stream().map(List::copyOf).toList();
    marked = List.copyOf(marked);
  }

  /** A heat map without marks. */
  public HeatMap(
      String title,
      String rows,
      int firstRow,
      String columns,
      String unit,
      List<List<Double>> values,
      boolean log) {
    this(title, rows, firstRow, columns, unit, values, log, List.of());
  }

  /** The SVG document. */
  public String svg() {
    double[] all = values.stream().flatMap(List::stream).mapToDouble(Double::doubleValue).toArray();
    Axis colours = Axis.of(all, log);
    Picture picture =
        new Picture(LEFT + SIDE + 130, TOP + SIDE + 60, title, description(all, colours));
    int height = values.size();
    int width = values.stream().mapToInt(List::size).max().orElse(1);
    double cellHeight = SIDE / height;
    double cellWidth = SIDE / width;
    for (int row = 0; row < height; row++) {
      for (int column = 0; column < values.get(row).size(); column++) {
        double value = values.get(row).get(column);
        picture.add(
            "<rect x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" height=\"%.2f\" shape-rendering=\"crispEdges\" %s><title>%s</title></rect>",
            LEFT + column * cellWidth,
            TOP + SIDE - (row + 1) * cellHeight,
            cellWidth,
            cellHeight,
            Double.isFinite(value)
                ? "fill=\"" + colour(colours.at(value)) + "\""
                : "class=\"none\"",
            column
                + ", "
                + (firstRow + row)
                + ": "
                + (Double.isFinite(value) ? Picture.number(value) : "-"));
      }
    }
    for (Cell cell : marked) {
      picture.add(
          "<rect x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" height=\"%.2f\" class=\"marked\"/>",
          LEFT + cell.column * cellWidth,
          TOP + SIDE - (cell.row + 1) * cellHeight,
          cellWidth,
          cellHeight);
    }
    numbers(picture, width, height, cellWidth, cellHeight);
    legend(picture, colours);
    return picture.svg();
  }

  private String description(double[] all, Axis colours) {
    long there = Arrays.stream(all).filter(Double::isFinite).count();
    return String.format(
        Locale.ROOT,
        "Heat map of %d values, columns: %s, rows: %s. %s from %s to %s.",
        there,
        columns,
        rows,
        unit,
        Picture.number(colours.low()),
        Picture.number(colours.high()));
  }

  private void numbers(
      Picture picture, int width, int height, double cellWidth, double cellHeight) {
    for (int column = 0; column < width; column += Math.ceilDiv(width, 16)) {
      picture.text(
          LEFT + (column + 0.5) * cellWidth, TOP + SIDE + 16, "tick", "middle", "" + column);
    }
    for (int row = 0; row < height; row += Math.ceilDiv(height, 16)) {
      picture.text(
          LEFT - 6,
          TOP + SIDE - (row + 0.5) * cellHeight + 4,
          "tick",
          "end",
          "" + (firstRow + row));
    }
    picture.text(LEFT + SIDE / 2, TOP + SIDE + 40, "", "middle", columns);
    picture.upwards(20, TOP + SIDE / 2, rows);
  }

  private void legend(Picture picture, Axis colours) {
    double x = LEFT + SIDE + 24;
    for (int step = 0; step < STEPS; step++) {
      picture.add(
          "<rect x=\"%.1f\" y=\"%.2f\" width=\"16\" height=\"%.2f\" fill=\"%s\"/>",
          x,
          TOP + SIDE - (step + 1) * SIDE / STEPS,
          SIDE / STEPS + 0.3,
          colour((step + 0.5) / STEPS));
    }
    for (double tick : colours.ticks()) {
      picture.text(
          x + 22, TOP + SIDE * (1 - colours.at(tick)) + 4, "tick", "start", Picture.number(tick));
    }
    picture.upwards(x + 84, TOP + SIDE / 2, unit);
  }

  private static String colour(double share) {
    double at = share * (SCALE.length - 1);
    int below = Math.min((int) at, SCALE.length - 2);
    double rest = at - below;
    int colour = 0;
    for (int shift = 16; shift >= 0; shift -= 8) {
      int from = SCALE[below] >> shift & 255;
      int to = SCALE[below + 1] >> shift & 255;
      colour = colour << 8 | (int) Math.round(from + (to - from) * rest);
    }
    return String.format(Locale.ROOT, "#%06x", colour);
  }
}
