package dev.laco.prune;

import dev.laco.collapse.Lookahead;
import dev.laco.collapse.NormsPolicy;
import dev.laco.collapse.Objective;
import dev.laco.collapse.SearchBudget;
import java.util.Locale;
import org.jspecify.annotations.Nullable;

/**
 * How the layers to merge or remove are searched for. The default of a setting that is null depends
 * on strategy and model.
 *
 * @param strategy null for {@link Strategy#LACO} where the goal is a threshold, for {@link
 *     Strategy#BLOCKS} where weights are fitted to a text afterwards and no setting of a search by
 *     trials is given, and else for {@link Strategy#BEAM}
 * @param budget how long a search for a size may take, as {@link SearchBudget#parse} reads it; null
 *     for no bound
 * @param objective the measure that greedy and beam search optimise; null for {@link Objective#NLL}
 * @param lookahead candidates that the paper's loop scores at once, as {@link Lookahead#parse}
 *     reads it; null for as many as make it fastest on the device
 * @param mergeLayers layers that are merged at once at most, base included; null for 4 in the
 *     paper's loop and {@code align} + 1 elsewhere
 * @param align greedy and beam search remove layers in multiples of this number, so that a layer
 *     keeps its place in a pattern of that period, such as one of attention types; null for 1
 * @param interval layers that the base of the paper's loop moves down after a merge; null for 2
 * @param lowest lowest base; null for 1
 * @param highest exclusive end of the layers that are merged; null for the depth
 * @param norms what a merge does with norms and biases; null for the rule's default
 */
public record SearchSettings(
    @Nullable Strategy strategy,
    @Nullable String budget,
    @Nullable Objective objective,
    @Nullable String lookahead,
    @Nullable Integer mergeLayers,
    @Nullable Integer align,
    @Nullable Integer interval,
    @Nullable Integer lowest,
    @Nullable Integer highest,
    @Nullable NormsPolicy norms) {
  /** The default of every setting. */
  public static final SearchSettings DEFAULT =
      new SearchSettings(null, null, null, null, null, null, null, null, null, null);

  /** The same with another bound on the search. */
  public SearchSettings withBudget(@Nullable String other) {
    return new SearchSettings(
        strategy,
        other,
        objective,
        lookahead,
        mergeLayers,
        align,
        interval,
        lowest,
        highest,
        norms);
  }

  /** The same with another lowest base. */
  SearchSettings withLowest(int other) {
    return new SearchSettings(
        strategy,
        budget,
        objective,
        lookahead,
        mergeLayers,
        align,
        interval,
        other,
        highest,
        norms);
  }

  /** A strategy with the default of every other setting. */
  public static SearchSettings of(Strategy strategy) {
    return new SearchSettings(strategy, null, null, null, null, null, null, null, null, null);
  }

  /** How a size is searched for. */
  public enum Strategy {
    /** The paper's loop, with the threshold that leads to the size. */
    LACO,
    /** From each model the best next merge, wherever it is. */
    GREEDY,
    /** Likewise, from several best models of each depth. */
    BEAM,
    /**
     * The blocks of layers whose removal costs least, in closed form; for rules that fit weights
     * afterwards.
     */
    BLOCKS;

    /** The name in requests and reports. */
    public String label() {
      return name().toLowerCase(Locale.ROOT);
    }
  }

  public SearchSettings {
    if (budget != null) {
      SearchBudget.parse(budget);
    }
    if (lookahead != null) {
      Lookahead.parse(lookahead);
    }
  }
}
