package dev.laco.cli.chart;

import dev.laco.collapse.KeptLayers;
import java.util.List;
import java.util.Locale;
import java.util.Map;

/**
 * The layers of a model above those of the model that was pruned from it: a line leads from each
 * layer that is kept, or merged into another, to the one below that has its weights.
 *
 * @param depth layers of the original
 * @param layers which of them are kept, merged and removed
 * @param weights for each layer of the pruned model, what became of its weights
 */
public record LayerMap(int depth, KeptLayers layers, List<Weights> weights) {
  private static final double WIDTH = 900;
  private static final double LEFT = 16;
  private static final double ABOVE = 56;
  private static final double BELOW = 150;
  private static final double MOST = 34;
  private static final double ENTRY = 190;

  /** The class of the box of a layer that was removed. */
  private static final String GONE = "gone";

  /** What became of the weights of a layer that was kept. */
  public enum Weights {
    /** They are the original's. */
    KEPT("kept as it is"),
    /** A fit changed some of them. */
    FITTED("kept, weights fitted"),
    /** A training changed them. */
    TRAINED("kept, weights trained"),
    /** A fit changed some of them, and then a training all. */
    FITTED_AND_TRAINED("kept, fitted and trained");

    private final String words;

    Weights(String words) {
      this.words = words;
    }

    /** What became of weights that a fit, a training, both or neither changed. */
    public static Weights of(boolean fitted, boolean trained) {
      if (trained) {
        return fitted ? FITTED_AND_TRAINED : TRAINED;
      }
      return fitted ? FITTED : KEPT;
    }

    /** The class of such a layer's box. */
    private String style() {
      return name().toLowerCase(Locale.ROOT).replace('_', '-');
    }
  }

  /** A map with a copy of its list. */
  public LayerMap {
    weights = List.copyOf(weights);
  }

  /** The SVG document. */
  public String svg() {
    Picture picture =
        new Picture(
            WIDTH + 2 * LEFT,
            BELOW + 84,
            String.format(Locale.ROOT, "%d layers become %d", depth, layers.kept().size()),
            layers.describe());
    double step = WIDTH / depth;
    double side = Math.min(MOST, step * 0.84);
    for (int layer = 0; layer < depth; layer++) {
      String style = layers.kept().contains(layer) ? Weights.KEPT.style() : GONE;
      box(picture, LEFT + (layer + 0.5) * step, ABOVE, side, style, layer);
    }
    for (int index = 0; index < layers.kept().size(); index++) {
      int base = layers.kept().get(index);
      // Below the base, so that a gap shows where layers went.
      double x = LEFT + (base + 0.5) * step;
      picture.add("<path class=\"axis\" d=\"M%.1f %.1fV%.1f\"/>", x, ABOVE + side, BELOW);
      box(picture, x, BELOW, side, weights.get(index).style(), index);
    }
    for (Map.Entry<Integer, List<Integer>> merge : layers.merged().entrySet()) {
      for (int other : merge.getValue()) {
        picture.add(
            "<path class=\"axis\" stroke-dasharray=\"4 3\" d=\"M%.1f %.1fL%.1f %.1f\"/>",
            LEFT + (other + 0.5) * step, ABOVE + side, LEFT + (merge.getKey() + 0.5) * step, BELOW);
      }
    }
    legend(picture);
    return picture.svg();
  }

  private void box(
      Picture picture, double middle, double top, double side, String style, int number) {
    picture.add(
        "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" rx=\"3\" class=\"layer %s\"/>",
        middle - side / 2, top, side, side, style);
    if (side >= 18 || number % 5 == 0) {
      picture.text(middle, top + side / 2 + 4, "tick", "middle", Integer.toString(number));
    }
  }

  private void legend(Picture picture) {
    double y = BELOW + 58;
    double x = LEFT;
    for (Weights state : Weights.values()) {
      if (weights.contains(state)) {
        x = entry(picture, x, y, state.style(), state.words);
      }
    }
    x = entry(picture, x, y, GONE, layers.merged().isEmpty() ? "removed" : "removed or merged");
    if (!layers.merged().isEmpty()) {
      picture.add("<path class=\"axis\" stroke-dasharray=\"4 3\" d=\"M%.1f %.1fh24\"/>", x, y + 7);
      picture.text(x + 30, y + 11, "", "start", "merged into");
    }
  }

  /** Adds an entry to the legend, and returns where the next one begins. */
  private static double entry(Picture picture, double x, double y, String style, String words) {
    picture.add(
        "<rect x=\"%.1f\" y=\"%.1f\" width=\"14\" height=\"14\" rx=\"2\" class=\"layer %s\"/>",
        x, y, style);
    picture.text(x + 20, y + 11, "", "start", words);
    return x + ENTRY;
  }
}
