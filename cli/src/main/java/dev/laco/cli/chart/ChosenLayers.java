package dev.laco.cli.chart;

import java.util.List;
import java.util.Locale;
import java.util.Set;

/**
 * Which layers of one original several models keep: a line a model, a box a layer.
 *
 * @param title what is shown
 * @param depth layers of the original
 * @param rows the models, the first at the top
 */
public record ChosenLayers(String title, int depth, List<Row> rows) {
  private static final double LEFT = 140;
  private static final double WIDTH = 600;
  private static final double TOP = 62;
  private static final double LINE = 26;
  private static final int NUMBERS = 16;

  /** A model with the numbers of the original's layers that it keeps. */
  public record Row(String label, Set<Integer> kept) {
    /** A model with a copy of its layers. */
    public Row {
      kept = Set.copyOf(kept);
    }
  }

  /** A picture with a copy of its lines. */
  public ChosenLayers {
    rows = List.copyOf(rows);
  }

  /** The SVG document. */
  public String svg() {
    double step = WIDTH / depth;
    double bottom = TOP + LINE * rows.size();
    Picture picture =
        new Picture(
            LEFT + WIDTH + 16,
            bottom + 40,
            title,
            String.format(
                Locale.ROOT, "Which of %d layers each of %d models keeps.", depth, rows.size()));
    for (int layer = 0; layer < depth; layer += Math.ceilDiv(depth, NUMBERS)) {
      picture.text(LEFT + (layer + 0.5) * step, TOP - 8, "tick", "middle", "" + layer);
    }
    for (int i = 0; i < rows.size(); i++) {
      Row row = rows.get(i);
      picture.text(LEFT - 10, TOP + LINE * (i + 0.5) + 4, "", "end", row.label);
      for (int layer = 0; layer < depth; layer++) {
        box(
            picture,
            LEFT + layer * step + 1,
            TOP + LINE * i + 3,
            step - 2,
            row.kept.contains(layer) ? "kept" : "gone");
      }
    }
    box(picture, LEFT, bottom + 14, 14, "kept");
    picture.text(LEFT + 20, bottom + 27, "", "start", "kept or merged");
    box(picture, LEFT + 150, bottom + 14, 14, "gone");
    picture.text(LEFT + 170, bottom + 27, "", "start", "removed");
    return picture.svg();
  }

  private static void box(Picture picture, double x, double y, double width, String style) {
    picture.add(
        "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"20\" rx=\"2\" class=\"layer %s\"/>",
        x, y, width, style);
  }
}
