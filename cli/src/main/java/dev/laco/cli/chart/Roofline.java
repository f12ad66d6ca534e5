package dev.laco.cli.chart;

import java.util.LinkedHashSet;
import java.util.List;
import java.util.Locale;
import java.util.stream.Stream;

/**
 * What kernels reach of what a device can do, in two parts: those that multiply matrices under a
 * roofline, which is a slope where memory is the bound and level where arithmetic is; and those
 * that only move data, a line each, as a share of a stream with the same proportion of reads and
 * writes.
 *
 * @param title what is shown
 * @param bandwidth of the device, in GB/s
 * @param peaks what it multiplies at most, at least one where there are multiplying kernels
 * @param products kernels that multiply, one point for each size
 * @param moves kernels that only move data, one point for each size
 */
public record Roofline(
    String title, double bandwidth, List<Peak> peaks, List<Product> products, List<Move> moves) {
  private static final double LEFT = 76;
  private static final double WIDTH = 560;
  private static final double TOP = 50;
  private static final double HEIGHT = 320;
  private static final PlotArea AREA = new PlotArea(LEFT, TOP, WIDTH, HEIGHT);
  private static final double ENTRY = 18;
  private static final double NAMES = 250;
  private static final double SHARES = LEFT + WIDTH - NAMES;
  private static final double LINE = 17;

  /** What a device multiplies at most, in GFLOP/s. */
  public record Peak(String name, double rate) {}

  /**
   * A kernel that multiplies.
   *
   * @param says the size, for a reader who points at it
   * @param intensity operations for each byte that must be moved
   * @param rate GFLOP/s
   */
  public record Product(String kernel, String says, double intensity, double rate) {}

  /**
   * A kernel that moves data.
   *
   * @param group what a colour and a shape stand for
   * @param share of the stream, 1 for as fast
   */
  public record Move(String kernel, String group, String says, double share) {}

  /** A picture with copies of its lists. */
  public Roofline {
    peaks = List.copyOf(peaks);
    products = List.copyOf(products);
    moves = List.copyOf(moves);
  }

  /** The SVG document. */
  public String svg() {
    List<String> kernels = distinct(products.stream().map(Product::kernel));
    double entries = products.isEmpty() ? 0 : HEIGHT + 62 + ENTRY * Math.ceilDiv(kernels.size(), 2);
    List<String> moving = distinct(moves.stream().map(Move::kernel));
    double height = TOP + entries + (moves.isEmpty() ? 0 : 76 + LINE * moving.size());
    Picture picture =
        new Picture(
            LEFT + WIDTH + 30,
            height + 10,
            title,
            String.format(
                Locale.ROOT,
                "Roofline of %d kernels that multiply, and the shares of memory streams that %d"
                    + " kernels reach which only move data.",
                kernels.size(),
                moving.size()));
    if (!products.isEmpty()) {
      products(picture, kernels);
    }
    if (!moves.isEmpty()) {
      moves(picture, moving, TOP + entries);
    }
    return picture.svg();
  }

  private static List<String> distinct(Stream<String> names) {
    return List.copyOf(new LinkedHashSet<>(names.toList()));
  }

  private void products(Picture picture, List<String> kernels) {
    double most = peaks.stream().mapToDouble(Peak::rate).max().orElse(bandwidth);
    double ridge = most / bandwidth;
    Axis across =
        Axis.of(
            Stream.concat(
                    Stream.of(ridge / 10, ridge * 4), products.stream().map(Product::intensity))
                .mapToDouble(Double::doubleValue)
                .toArray(),
            true);
    Axis up =
        Axis.of(
            Stream.concat(
                    Stream.of(across.low() * bandwidth, most * 1.5),
                    products.stream().map(Product::rate))
                .mapToDouble(Double::doubleValue)
                .toArray(),
            true);
    AREA.axes(picture, across, across.ticks(), up, "operations for each byte", "GFLOP/s");
    picture.add(
        "<path class=\"axis\" stroke-dasharray=\"5 4\" d=\"M%.1f %.1fL%.1f %.1f\"/>",
        LEFT, AREA.y(up, across.low() * bandwidth), AREA.x(across, ridge), AREA.y(up, most));
    picture.text(
        LEFT + 8, TOP + 14, "tick", "start", "slope: " + Picture.number(bandwidth) + " GB/s");
    for (int i = 0; i < peaks.size(); i++) {
      Peak peak = peaks.get(i);
      picture.add(
          "<path class=\"axis\" stroke-dasharray=\"5 4\" d=\"M%.1f %.1fH%.1f\"/>",
          AREA.x(across, peak.rate / bandwidth), AREA.y(up, peak.rate), LEFT + WIDTH);
      picture.text(
          LEFT + 8,
          TOP + 14 + ENTRY * (i + 1),
          "tick",
          "start",
          "level: " + peak.name + ", " + Picture.number(peak.rate) + " GFLOP/s");
    }
    for (Product product : products) {
      mark(
          picture,
          AREA.x(across, product.intensity),
          AREA.y(up, product.rate),
          kernels.indexOf(product.kernel),
          String.format(
              Locale.ROOT,
              "%s, %s: %s GFLOP/s",
              product.kernel,
              product.says,
              Picture.number(product.rate)));
    }
    for (int i = 0; i < kernels.size(); i++) {
      double x = LEFT + (i % 2) * WIDTH / 2;
      int line = i / 2;
      double y = TOP + HEIGHT + 58 + ENTRY * line;
      mark(picture, x + 4, y - 4, i, kernels.get(i));
      picture.text(x + 16, y, "tick", "start", kernels.get(i));
    }
  }

  private void moves(Picture picture, List<String> kernels, double top) {
    List<String> groups = distinct(moves.stream().map(Move::group));
    double left = LEFT + WIDTH - SHARES;
    double bottom = top + 34 + LINE * kernels.size();
    Axis across =
        Axis.of(
                Stream.concat(Stream.of(100.0), moves.stream().map(move -> 100 * move.share))
                    .mapToDouble(Double::doubleValue)
                    .toArray(),
                false)
            .fromZero();
    for (int i = 0; i < groups.size(); i++) {
      double x = 30 + i * 130.0;
      mark(picture, x, top + 8, i, groups.get(i));
      picture.text(x + 12, top + 12, "tick", "start", groups.get(i));
    }
    for (double tick : across.ticks()) {
      double at = left + SHARES * across.at(tick);
      picture.add(
          "<path class=\"%s\" d=\"M%.1f %.1fV%.1f\"/>",
          tick == 100 ? "axis" : "grid", at, top + 26, bottom);
      picture.text(at, bottom + 16, "tick", "middle", Picture.number(tick));
    }
    picture.text(left + SHARES, bottom + 34, "", "end", "% of a stream with its reads and writes");
    for (int i = 0; i < kernels.size(); i++) {
      picture.text(left - 8, top + 34 + LINE * (i + 0.5) + 4, "tick", "end", kernels.get(i));
    }
    for (Move move : moves) {
      mark(
          picture,
          left + SHARES * across.at(100 * move.share),
          top + 34 + LINE * (kernels.indexOf(move.kernel) + 0.5),
          groups.indexOf(move.group),
          String.format(
              Locale.ROOT,
              "%s, %s, %s: %.1f %%",
              move.kernel,
              move.group,
              move.says,
              100 * move.share));
    }
  }

  /** A point; a colour and a shape stand for an index. */
  private static void mark(Picture picture, double x, double y, int index, String says) {
    int colours = LineChart.COLOURS.size();
    picture.add(
        "<path transform=\"translate(%.1f %.1f)\" fill=\"%s\" d=\"%s\"><title>%s</title></path>",
        x,
        y,
        LineChart.COLOURS.get(index % colours),
        LineChart.SHAPES.get((index + index / colours) % LineChart.SHAPES.size()),
        Picture.escaped(says));
  }
}
