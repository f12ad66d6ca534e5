package dev.laco.report;

import dev.laco.Compute;
import dev.laco.collapse.BlockSettings;
import dev.laco.collapse.FitRule;
import dev.laco.collapse.NormsPolicy;
import dev.laco.collapse.Objective;
import dev.laco.model.DType;
import java.nio.file.Path;
import org.jspecify.annotations.Nullable;

/**
 * The settings that a prune ran with: those of its request, and what was chosen where the request
 * left a setting to its default.
 *
 * @param search where the pruned layers came from
 * @param rule how layers were merged, or removed and others fitted to make up for them: the label
 *     of a {@link dev.laco.collapse.MergeRule} or a {@link FitRule}, or {@code auto}
 * @param threshold the similarity above which the paper's loop accepts a merge: the one that was
 *     given, or the one that leads to the size that was given; null without that loop
 * @param compute the types of matrix products that were asked for
 * @param products the type in which products of the model's matrices were computed
 * @param calibration the text that candidates were scored on
 * @param fit the fit; null where no weights were to be fitted
 */
public record PruneSettings(
    Search search,
    String rule,
    @Nullable Double threshold,
    Compute compute,
    DType products,
    Calibration calibration,
    @Nullable Fit fit) {
  /** Where the pruned layers came from. */
  public sealed interface Search {}

  /**
   * The loop of the LaCo paper.
   *
   * @param mergeLayers most layers that one merge combines, the base included
   * @param interval layers that the base moves down after an accepted merge
   * @param lowest the lowest base
   * @param highest the exclusive end of the layers that may be merged
   * @param norms what a merge does with norms and biases
   * @param targetLayers the number of layers that was sought; null where a threshold was given
   * @param budget the bound of the search, as {@link dev.laco.collapse.SearchBudget#parse} reads
   *     it; null for none
   */
  public record PaperLoop(
      int mergeLayers,
      int interval,
      int lowest,
      int highest,
      NormsPolicy norms,
      @Nullable Integer targetLayers,
      @Nullable String budget)
      implements Search {}

  /**
   * The search for the best merges anywhere in the model.
   *
   * @param beamWidth models that were kept at every depth; 1 for a greedy search
   * @param mergeLayers most layers that one merge combines, the base included
   * @param align layers were removed in multiples of this number
   * @param lowest the lowest base
   * @param highest the exclusive end of the layers that may be merged
   * @param norms what a merge does with norms and biases; null for the default of its rule
   * @param targetLayers the number of layers that was sought
   * @param budget the bound of the search, as {@link dev.laco.collapse.SearchBudget#parse} reads
   *     it; null for none
   * @param objective what the search made as good as it could
   */
  public record BestMerges(
      int beamWidth,
      int mergeLayers,
      int align,
      int lowest,
      int highest,
      @Nullable NormsPolicy norms,
      int targetLayers,
      @Nullable String budget,
      Objective objective)
      implements Search {
    /** Whether only the best model of each depth was kept. */
    public boolean isGreedy() {
      return beamWidth == 1;
    }
  }

  /**
   * The search for the blocks of layers whose removal costs least, in closed form.
   *
   * @param settings the blocks that were measured
   * @param targetLayers the number of layers that was sought
   */
  public record Blocks(BlockSettings settings, int targetLayers) implements Search {}

  /**
   * No search: the layers were those of a plan.
   *
   * @param file the plan's file
   */
  public record GivenPlan(Path file) implements Search {}

  /**
   * The text that candidates were scored on.
   *
   * @param text names the text for people
   * @param sentences sentences of the text
   * @param tokens tokens of the text
   */
  public record Calibration(String text, int sentences, int tokens) {}

  /**
   * How weights were to be fitted; where the model predicted better without the fit, its report has
   * no tokens.
   *
   * @param rule the rule
   * @param text names the text of the fit for people
   * @param tokens tokens of the text that were to be used
   */
  public record Fit(FitRule rule, String text, int tokens) {}
}
