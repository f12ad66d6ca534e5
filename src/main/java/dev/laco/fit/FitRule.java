package dev.laco.fit;

import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * What of a model is fitted after layers were removed, so that the layers that stay do the work of
 * the removed ones, too (docs/method.md, "Rules that carry over"). A gap is a place where layers
 * were removed.
 *
 * @param label the name of a preset, as {@link #named} reads it
 * @param gap what happens at every gap
 * @param align whether the inputs of channels are mapped to what these channels saw in the original
 * @param later whether every layer behind the first gap has its inputs aligned and its output and
 *     down projections fitted, too
 * @param steps whether gate and up projections are moved by Gauss-Newton steps, and the final norm
 *     is scaled to the original's predictions
 */
public record FitRule(String label, Gap gap, boolean align, boolean later, boolean steps) {
  /** What happens at a gap. */
  public enum Gap {
    /** Nothing is fitted: what later layers write is scaled as if hidden states had grown there. */
    SCALE,
    /** The output of the feed-forward part before the gap goes through one linear map. */
    MAP,
    /** The down projection before the gap is fitted. */
    DOWN,
    /** The same, its channels chosen from those of all layers that it stands for. */
    CHANNELS
  }

  /** Prune&amp;Comp. */
  public static final FitRule COMPENSATE =
      new FitRule("compensate", Gap.SCALE, false, false, false);

  /** ReplaceMe. */
  public static final FitRule MAP = new FitRule("map", Gap.MAP, false, false, false);

  /** The down projection before each gap. */
  public static final FitRule FIT = new FitRule("fit", Gap.DOWN, false, false, false);

  /** Fit, with channels of all layers that were removed. */
  public static final FitRule SELECT = new FitRule("select", Gap.CHANNELS, false, false, false);

  /** Select, with aligned inputs. */
  public static final FitRule ALIGN = new FitRule("align", Gap.CHANNELS, true, false, false);

  /** Align, and every layer behind a gap. */
  public static final FitRule REPAIR = new FitRule("repair", Gap.CHANNELS, true, true, false);

  /** Repair, and Gauss-Newton steps. */
  public static final FitRule REFINE = new FitRule("refine", Gap.CHANNELS, true, true, true);

  /** The presets; from FIT on, each does more than the one before, and takes longer. */
  public static List<FitRule> presets() {
    return List.of(COMPENSATE, MAP, FIT, SELECT, ALIGN, REPAIR, REFINE);
  }

  /** The preset of this name, or null where there is none; {@code fit:map} is a map, too. */
  public static @Nullable FitRule named(String label) {
    String wanted = label.equals("fit:map") ? MAP.label : label;
    return presets().stream().filter(rule -> rule.label.equals(wanted)).findFirst().orElse(null);
  }

  /** The same without the steps: all that is solved at once. */
  public FitRule withoutSteps() {
    return new FitRule(label, gap, align, later, false);
  }

  /** The same at gaps only: what tells one choice of layers from another, and is quick. */
  public FitRule atGapsOnly() {
    return new FitRule(label, gap, align, false, false);
  }

  /** The time that fitting one layer takes, in forward passes of that layer in the original. */
  public int layerPasses() {
    return steps ? 20 : later ? 6 : 2;
  }

  /** Whether systems are solved that are regularised. */
  public boolean regularised() {
    return gap != Gap.SCALE;
  }
}
