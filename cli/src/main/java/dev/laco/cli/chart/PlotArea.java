package dev.laco.cli.chart;

import java.util.List;

/** Where the points of a picture with two axes lie, in pixels. */
record PlotArea(double left, double top, double width, double height) {
  /** The place of a value across. */
  double x(Axis across, double value) {
    return left + width * across.at(value);
  }

  /** The place of a value upwards. */
  double y(Axis up, double value) {
    return top + height * (1 - up.at(value));
  }

  /**
   * Draws both axes, with a line behind the points at each value upwards.
   *
   * @param ticks the values that are written below the axis across
   * @param x what the values across are
   * @param y what the values upwards are
   */
  void axes(Picture picture, Axis across, List<Double> ticks, Axis up, String x, String y) {
    for (double tick : up.ticks()) {
      picture.add("<path class=\"grid\" d=\"M%.1f %.1fh%.1f\"/>", left, y(up, tick), width);
      picture.text(left - 6, y(up, tick) + 4, "tick", "end", Picture.number(tick));
    }
    for (double tick : ticks) {
      picture.text(x(across, tick), top + height + 18, "tick", "middle", Picture.number(tick));
    }
    picture.add("<path class=\"axis\" d=\"M%.1f %.1fv%.1fh%.1f\"/>", left, top, height, width);
    picture.text(left + width, top + height + 36, "", "end", x);
    picture.upwards(18, top + height / 2, y);
  }
}
