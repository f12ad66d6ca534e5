package dev.laco.prune;

import dev.laco.Request;
import java.nio.file.Path;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/**
 * The parameters of a prune, all that decides its result but the model and the device.
 *
 * @param goal when the model is shallow enough
 * @param search how the layers to merge are searched for
 * @param rule how layers are merged, or removed and weights of the others fitted: the label of a
 *     {@link dev.laco.collapse.MergeRule} or a {@link dev.laco.collapse.FitRule}, or {@code auto};
 *     null for {@code auto}, and for {@code replace} in the paper's loop
 * @param fit the text that weights are fitted on
 * @param texts the texts that models are scored and measured on
 * @param fromPlan the file of a plan whose layers are taken in place of a search; null for a search
 */
public record PruneRequest(
    Goal goal,
    SearchSettings search,
    @Nullable String rule,
    FitSettings fit,
    TextSettings texts,
    @Nullable Path fromPlan)
    implements Request {
  public PruneRequest {
    goal = Objects.requireNonNullElse(goal, Goal.QUARTER);
    search = Objects.requireNonNullElse(search, SearchSettings.DEFAULT);
    fit = Objects.requireNonNullElse(fit, FitSettings.DEFAULT);
    texts = Objects.requireNonNullElse(texts, TextSettings.DEFAULT);
  }

  /** A prune to a goal, with defaults for all else. */
  public static PruneRequest of(Goal goal) {
    return new PruneRequest(
        goal, SearchSettings.DEFAULT, null, FitSettings.DEFAULT, TextSettings.DEFAULT, null);
  }

  /** The same with other settings of the search. */
  public PruneRequest withSearch(SearchSettings other) {
    return new PruneRequest(goal, other, rule, fit, texts, fromPlan);
  }

  /** The same with another rule. */
  public PruneRequest withRule(@Nullable String other) {
    return new PruneRequest(goal, search, other, fit, texts, fromPlan);
  }

  /** The same with another text to fit on. */
  public PruneRequest withFit(FitSettings other) {
    return new PruneRequest(goal, search, rule, other, texts, fromPlan);
  }

  /** The same with other texts to score and measure on. */
  public PruneRequest withTexts(TextSettings other) {
    return new PruneRequest(goal, search, rule, fit, other, fromPlan);
  }

  /** The same with the layers of a plan, or, where null, with those of a search. */
  public PruneRequest withFromPlan(@Nullable Path plan) {
    return new PruneRequest(goal, search, rule, fit, texts, plan);
  }
}
