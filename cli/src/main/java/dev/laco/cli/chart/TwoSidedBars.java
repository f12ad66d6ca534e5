package dev.laco.cli.chart;

import java.util.List;
import java.util.Locale;

/**
 * Two counts a line, as bars to the left and to the right of a middle, both on one scale; the first
 * line is at the top.
 *
 * @param title what is shown
 * @param left what the bars to the left are
 * @param right what the bars to the right are
 * @param rows at least one
 */
public record TwoSidedBars(String title, String left, String right, List<Row> rows) {
  private static final double LABELS = 220;
  private static final double HALF = 190;
  private static final double MIDDLE = LABELS + 40 + HALF;
  private static final double TOP = 66;
  private static final double LINE = 24;

  /** A line with its two counts. */
  public record Row(String label, long left, long right) {}

  /** A chart with a copy of its lines. */
  public TwoSidedBars {
    rows = List.copyOf(rows);
  }

  /** The SVG document. */
  public String svg() {
    double most = rows.stream().mapToLong(row -> Math.max(row.left, row.right)).max().orElse(0);
    double unit = most == 0 ? 0 : HALF / most;
    Picture picture =
        new Picture(
            MIDDLE + HALF + 60,
            TOP + LINE * rows.size() + 14,
            title,
            String.format(
                Locale.ROOT,
                "%d pairs of counts: %s to the left, %s to the right.",
                rows.size(),
                left,
                right));
    picture.text(MIDDLE - 8, TOP - 12, "", "end", left);
    picture.text(MIDDLE + 8, TOP - 12, "", "start", right);
    for (int i = 0; i < rows.size(); i++) {
      Row row = rows.get(i);
      double y = TOP + LINE * i;
      picture.text(LABELS - 10, y + 16, "", "end", row.label);
      bar(picture, MIDDLE - unit * row.left, y, unit * row.left, "#d55e00", row.label, row.left);
      bar(picture, MIDDLE, y, unit * row.right, "#0072b2", row.label, row.right);
      picture.text(MIDDLE - unit * row.left - 6, y + 16, "tick", "end", "" + row.left);
      picture.text(MIDDLE + unit * row.right + 6, y + 16, "tick", "start", "" + row.right);
    }
    picture.add(
        "<path class=\"axis\" d=\"M%.1f %.1fv%.1f\"/>", MIDDLE, TOP - 4, LINE * rows.size() + 8);
    return picture.svg();
  }

  private static void bar(
      Picture picture, double x, double y, double width, String fill, String label, long count) {
    picture.add(
        "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"16\" fill=\"%s\"><title>%s</title></rect>",
        x, y + 4, width, fill, Picture.escaped(label + ": " + count));
  }
}
