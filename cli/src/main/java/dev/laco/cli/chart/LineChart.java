package dev.laco.cli.chart;

import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/**
 * Values over numbers, one line a series, each with a colour and a shape of its points. Points
 * whose value is not finite are left out.
 *
 * @param title what is shown
 * @param x what the numbers are
 * @param y what the values are, with their unit
 * @param series at most eight
 * @param log whether equal heights are equal ratios
 * @param mark a point that is pointed out; null for none
 */
public record LineChart(
    String title, String x, String y, List<Series> series, boolean log, @Nullable Mark mark) {
  /** Okabe and Ito's colours, which readers with colour blindness can tell apart. */
  static final List<String> COLOURS =
      List.of(
          "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6d31", "#7f7f7f");

  /** Around 0, 0: a circle, a square, a triangle and a diamond. */
  static final List<String> SHAPES =
      List.of(
          "M-3.5 0a3.5 3.5 0 1 0 7 0a3.5 3.5 0 1 0 -7 0Z",
          "M-3 -3h6v6h-6Z",
          "M0 -4L4 3.5L-4 3.5Z",
          "M0 -4.5L4.5 0L0 4.5L-4.5 0Z");

  private static final double WIDTH = 560;
  private static final double HEIGHT = 300;
  private static final double LEFT = 76;
  private static final double TOP = 44;
  private static final PlotArea AREA = new PlotArea(LEFT, TOP, WIDTH, HEIGHT);
  private static final double LEGEND_LINE = 18;

  /** A line: {@code y[i]} over {@code x[i]}. */
  public record Series(String name, List<Double> x, List<Double> y) {
    /** A line with copies of its points. */
    public Series {
      x = List.copyOf(x);
      y = List.copyOf(y);
    }
  }

  /** A point with a word about it. */
  public record Mark(double x, double y, String word) {}

  /** A chart with a copy of its series. */
  public LineChart {
    series = List.copyOf(series);
  }

  /** The SVG document. */
  public String svg() {
    Axis across = Axis.of(all(series.stream().map(Series::x)), false);
    Axis up = Axis.of(all(series.stream().map(Series::y)), log).fromZero();
    Picture picture =
        new Picture(
            LEFT + WIDTH + 24,
            TOP + HEIGHT + 60 + LEGEND_LINE * series.size(),
            title,
            description(across, up));
    axes(picture, across, up);
    for (int i = 0; i < series.size(); i++) {
      line(picture, series.get(i), i, across, up);
      double y = TOP + HEIGHT + 56 + LEGEND_LINE * i;
      point(picture, LEFT + 4, y - 4, i, series.get(i).name());
      picture.text(LEFT + 16, y, "", "start", series.get(i).name());
    }
    if (mark != null) {
      double x = AREA.x(across, mark.x);
      double y = AREA.y(up, mark.y);
      picture.add("<circle cx=\"%.1f\" cy=\"%.1f\" r=\"9\" class=\"axis\"/>", x, y);
      picture.text(x, y - 14, "tick", x > LEFT + WIDTH / 2 ? "end" : "start", mark.word);
    }
    return picture.svg();
  }

  private static double[] all(Stream<List<Double>> lists) {
    return lists.flatMap(List::stream).mapToDouble(Double::doubleValue).toArray();
  }

  private String description(Axis across, Axis up) {
    return String.format(
        Locale.ROOT,
        "Line chart of %s over %s, %s to %s. Values from %s to %s. Lines: %s.",
        y,
        x,
        Picture.number(across.low()),
        Picture.number(across.high()),
        Picture.number(up.low()),
        Picture.number(up.high()),
        series.stream().map(Series::name).collect(Collectors.joining(", ")));
  }

  private void axes(Picture picture, Axis across, Axis up) {
    boolean whole =
        series.stream().flatMap(line -> line.x.stream()).allMatch(x -> x == Math.rint(x));
    AREA.axes(picture, across, whole ? across.wholeTicks() : across.ticks(), up, x, y);
  }

  private void line(Picture picture, Series line, int index, Axis across, Axis up) {
    List<String> points = new ArrayList<>();
    for (int i = 0; i < line.x.size(); i++) {
      double value = line.y.get(i);
      if (Double.isFinite(value) && (!log || value > 0)) {
        double at = AREA.x(across, line.x.get(i));
        double height = AREA.y(up, value);
        points.add(String.format(Locale.ROOT, "%.1f %.1f", at, height));
        point(
            picture,
            at,
            height,
            index,
            line.name + ", " + Picture.number(line.x.get(i)) + ": " + Picture.number(value));
      }
    }
    picture.add(
        "<path class=\"line\" stroke=\"%s\" d=\"M%s\"/>",
        COLOURS.get(index % COLOURS.size()), points.isEmpty() ? "0 0" : String.join("L", points));
  }

  private static void point(Picture picture, double x, double y, int index, String says) {
    picture.add(
        "<path transform=\"translate(%.1f %.1f)\" fill=\"%s\" d=\"%s\"><title>%s</title></path>",
        x,
        y,
        COLOURS.get(index % COLOURS.size()),
        SHAPES.get(index % SHAPES.size()),
        Picture.escaped(says));
  }
}
