package dev.laco.collapse;

import java.util.Collections;
import java.util.List;
import java.util.SortedMap;
import java.util.TreeMap;
import org.jspecify.annotations.Nullable;

/**
 * What a search found.
 *
 * @param threshold the T of the paper's loop that reproduces the best model; null where the search
 *     knows none
 * @param ranked the best models of the depth that was asked for, best first; at least one
 * @param bestBlock the best model of that depth that lacks its layers in one piece; null where no
 *     such model was scored
 * @param byDepth the best model of every depth that was scored, by depth, the original left out
 * @param trials every candidate that was scored and counts, in order; those accepted lead to the
 *     best model
 * @param cutShort whether its budget ended the search before everything was tried
 */
public record SearchResult(
    @Nullable Double threshold,
    List<Scored> ranked,
    @Nullable Scored bestBlock,
    SortedMap<Integer, Scored> byDepth,
    List<Trial> trials,
    boolean cutShort) {

  /** A model, and how close it is to the original. */
  public record Scored(CollapsePlan plan, Score score) {}

  public SearchResult {
    ranked = List.copyOf(ranked);
    byDepth = Collections.unmodifiableSortedMap(new TreeMap<>(byDepth));
    trials = List.copyOf(trials);
    if (ranked.isEmpty()) {
      throw new IllegalArgumentException("a search ends with at least one model");
    }
  }

  /** A model that was known without a search, the original for one; its score is not measured. */
  public static SearchResult known(CollapsePlan plan) {
    return known(null, plan);
  }

  /** The same where the threshold that leads to the model is known. */
  static SearchResult known(@Nullable Double threshold, CollapsePlan plan) {
    Scored only = new Scored(plan, Score.UNCHANGED);
    return new SearchResult(threshold, List.of(only), null, new TreeMap<>(), List.of(), false);
  }

  /** The same search with another model as the best, which the search itself need not know. */
  public SearchResult withBest(CollapsePlan plan, Score score) {
    return new SearchResult(
        threshold, List.of(new Scored(plan, score)), bestBlock, byDepth, trials, cutShort);
  }

  /** The best model of the depth that was asked for. */
  public Scored best() {
    return ranked.getFirst();
  }

  /** The plan of the best model. */
  public CollapsePlan plan() {
    return best().plan();
  }

  /** The score of the best model. */
  public Score score() {
    return best().score();
  }

  /** Similarity of the best model to the original; 1 when nothing was merged. */
  public double finalSimilarity() {
    return score().mean();
  }
}
