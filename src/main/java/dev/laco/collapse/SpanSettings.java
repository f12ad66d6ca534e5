package dev.laco.collapse;

import dev.laco.Setting;
import dev.laco.UsageException;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * Limits of a search over spans of layers and merge rules.
 *
 * @param mergeLayers C, layers merged at once at most, base included
 * @param align every merge has a multiple of this number of followers, so that a layer keeps its
 *     place in a pattern of that period; 1 where any number will do
 * @param lowest lowest original layer that may be a base
 * @param highest exclusive end: no layer from here on is merged
 * @param rules how a span may be merged, in the order that decides ties
 * @param norms what a merge does with norms and biases; null for each rule's own default
 * @param beamWidth models that are kept at every depth; 1 is greedy
 * @param blocks whether models that lack one block of consecutive layers are scored, too
 */
public record SpanSettings(
    int mergeLayers,
    int align,
    int lowest,
    int highest,
    List<MergeRule> rules,
    @Nullable NormsPolicy norms,
    Objective objective,
    int beamWidth,
    boolean blocks) {

  /** Settings without {@code blocks}, for spans of any length. */
  public SpanSettings(
      int mergeLayers,
      int lowest,
      int highest,
      List<MergeRule> rules,
      @Nullable NormsPolicy norms,
      Objective objective,
      int beamWidth) {
    this(mergeLayers, 1, lowest, highest, rules, norms, objective, beamWidth, false);
  }

  /** Settings of all values. */
  public SpanSettings {
    rules = List.copyOf(rules);
  }

  /**
   * Checks the numbers against a model's depth.
   *
   * @throws UsageException that names the option and the range
   */
  public void check(int depth) {
    CollapseSettings.checkSpans(mergeLayers, lowest, highest, depth);
    if (align < 1 || align >= mergeLayers) {
      throw Setting.of("align")
          .refuse(align, "1 to " + Setting.of("mergeLayers") + " minus 1, " + (mergeLayers - 1));
    }
  }

  /**
   * The default beam width, 2 to 4: wider if few layers are removed, because the search is then
   * short.
   */
  public static int beamWidth(int depth, int removed) {
    return Math.clamp(depth / (2L * Math.max(1, removed)), 2, 4);
  }

  /** About the most models that a search from one depth to another scores. */
  public long models(int depth, int target) {
    long models = blocks ? Math.max(0, highest - lowest - (depth - target)) : 0;
    for (int at = depth; at > target; at -= align) {
      int beam = at == depth ? 1 : beamWidth;
      models += (long) beam * (at - 1 - lowest) * rules.size() * ((mergeLayers - 1) / align);
    }
    return models;
  }

  /** The policy of a merge by {@code rule}. */
  NormsPolicy norms(MergeRule rule) {
    return norms != null ? norms : rule.defaultNorms();
  }

  /** The smallest depth that merges of a model of {@code depth} layers can lead to. */
  int smallestDepth(int depth) {
    return depth - (highest - lowest) + 1;
  }
}
