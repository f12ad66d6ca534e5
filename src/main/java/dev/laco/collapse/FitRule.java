package dev.laco.collapse;

import dev.laco.model.ModelConfig;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * Which tensors are fitted after layers were removed, so that the remaining layers do the work of
 * the removed ones, too (docs/method.md, "Rules that carry over what removed layers did"). A gap is
 * a place where layers were removed.
 *
 * @param label the name of a preset, as {@link #named} reads it
 * @param gap what happens at every gap
 * @param align whether the inputs of channels are mapped to what these channels saw in the original
 * @param later whether every layer behind the first gap has its inputs aligned and its output and
 *     down projections fitted, too
 * @param reconstructs whether every layer from the first gap on is trained to give the original's
 *     hidden states, all its tensors together, and the final norm is scaled to the original's
 *     predictions
 */
public record FitRule(String label, Gap gap, boolean align, boolean later, boolean reconstructs) {
  /** What happens at a gap. */
  public enum Gap {
    /** Nothing beyond what happens to all layers from the first gap on. */
    NONE,
    /** Nothing is fitted: what later layers write is scaled as if hidden states had grown there. */
    SCALE,
    /** The output of the feed-forward part before the gap goes through one linear map. */
    MAP,
    /** The down projection before the gap is fitted. */
    DOWN,
    /**
     * The feed-forward channels before the gap are chosen from those of this layer and of the
     * removed ones, then the down projection is fitted.
     */
    CHANNELS
  }

  /** Scales what later layers write to the residual stream (Prune&amp;Comp, arXiv 2507.18212). */
  public static final FitRule COMPENSATE = solving("compensate", Gap.SCALE, false, false);

  /** Fits one linear map before each gap (ReplaceMe, arXiv 2505.02819). */
  public static final FitRule MAP = solving("map", Gap.MAP, false, false);

  /** Fits the down projection before each gap. */
  public static final FitRule FIT = solving("fit", Gap.DOWN, false, false);

  /** {@link #FIT}, with channels chosen from the removed layers, too. */
  public static final FitRule SELECT = solving("select", Gap.CHANNELS, false, false);

  /** {@link #SELECT}, with the inputs of the chosen channels aligned. */
  public static final FitRule ALIGN = solving("align", Gap.CHANNELS, true, false);

  /** {@link #ALIGN}, with every layer behind the first gap fitted, too. */
  public static final FitRule REPAIR = solving("repair", Gap.CHANNELS, true, true);

  /** {@link #REPAIR}, then every layer from the first gap on trained from there. */
  public static final FitRule REFINE = new FitRule("refine", Gap.CHANNELS, true, true, true);

  /** Trains every layer from the first gap on to give the original's hidden states. */
  public static final FitRule RECONSTRUCT =
      new FitRule("reconstruct", Gap.NONE, false, false, true);

  private static FitRule solving(String label, Gap gap, boolean align, boolean later) {
    return new FitRule(label, gap, align, later, false);
  }

  /** The presets; from FIT on, each does more than the one before, and takes longer. */
  public static List<FitRule> presets() {
    return List.of(COMPENSATE, MAP, RECONSTRUCT, FIT, SELECT, ALIGN, REPAIR, REFINE);
  }

  /** The names of the presets. */
  public static List<String> labels() {
    return presets().stream().map(FitRule::label).toList();
  }

  /** The preset of this name, or null where there is none; {@code fit:map} is a map, too. */
  public static @Nullable FitRule named(String label) {
    String wanted = label.equals("fit:map") ? MAP.label : label;
    return presets().stream().filter(rule -> rule.label.equals(wanted)).findFirst().orElse(null);
  }

  /** The same rule at gaps only: quick, and enough to compare choices of layers. */
  public FitRule atGapsOnly() {
    return new FitRule(label, gap, align, false, reconstructs && !solves());
  }

  /** The rule that does most of those that hold for a model. */
  public static FitRule best(ModelConfig config) {
    return holding(config).getFirst();
  }

  /** The rules that hold for a model, from the one that does most. */
  public static List<FitRule> holding(ModelConfig config) {
    return presets().reversed().stream().filter(rule -> rule.whyNot(config) == null).toList();
  }

  /**
   * The rule that does most of those that hold for a model and change layers at gaps only; null
   * where none holds.
   */
  public static @Nullable FitRule quick(ModelConfig config) {
    return holding(config).stream().filter(FitRule::changesGapsOnly).findFirst().orElse(null);
  }

  /** Whether layers that are not at a gap are left as they are, or scaled at most. */
  public boolean changesGapsOnly() {
    return !later && !reconstructs;
  }

  /** Why the rule does not hold for a model, as the end of a sentence; null where it holds. */
  public @Nullable String whyNot(ModelConfig config) {
    if (gap == Gap.NONE) {
      return null;
    }
    boolean more = gap == Gap.CHANNELS || later;
    String why = config.whyNoFit();
    return why == null && more ? config.whyOnlyDown() : why;
  }

  /** Whether the rule solves least-squares problems with a penalty. */
  public boolean solves() {
    return gap != Gap.SCALE && gap != Gap.NONE;
  }
}
