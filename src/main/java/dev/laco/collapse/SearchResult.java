package dev.laco.collapse;

import java.util.Collections;
import java.util.List;
import java.util.Optional;
import java.util.SortedMap;
import java.util.TreeMap;
import org.jspecify.annotations.Nullable;

/**
 * What a search found.
 *
 * @param threshold the T of the paper's loop that gives the best model; null for other searches
 * @param ranked the best models of the depth that was asked for, best first; at least one
 * @param bestBlock the best model of that depth that lacks one block of consecutive layers; null if
 *     no such model was scored
 * @param peers models of that depth that other people's methods choose; they have no score
 * @param byDepth for each depth below the original's, the best models of this depth that were
 *     scored, best first; no entry where none was
 * @param trials every candidate that was scored and counts, in order; those accepted lead to the
 *     best model
 * @param blocks what the removal of each block costs; empty for a search that measures no blocks
 * @param cutShort whether its budget ended the search before everything was tried
 */
public record SearchResult(
    @Nullable Double threshold,
    List<Scored> ranked,
    @Nullable Scored bestBlock,
    List<CollapsePlan> peers,
    SortedMap<Integer, List<Scored>> byDepth,
    List<Trial> trials,
    List<BlockCost> blocks,
    boolean cutShort) {
  /** A model, and how close it is to the original. */
  public record Scored(CollapsePlan plan, Score score) {}

  /** A result with copies of its collections. */
  public SearchResult {
    ranked = List.copyOf(ranked);
    peers = List.copyOf(peers);
    byDepth = Collections.unmodifiableSortedMap(new TreeMap<>(byDepth));
    trials = List.copyOf(trials);
    blocks = List.copyOf(blocks);
    if (ranked.isEmpty()) {
      throw new IllegalArgumentException("a search ends with at least one model");
    }
  }

  /** The result for a model that needs no search, such as the original; it has not been scored. */
  public static SearchResult known(CollapsePlan plan) {
    return known(null, List.of(plan));
  }

  /** The result for models of one depth that have not been scored, the best first. */
  public static SearchResult known(List<CollapsePlan> plans) {
    return known(null, plans);
  }

  /** The same result with the threshold that leads to the model. */
  static SearchResult known(@Nullable Double threshold, CollapsePlan plan) {
    return known(threshold, List.of(plan));
  }

  private static SearchResult known(@Nullable Double threshold, List<CollapsePlan> plans) {
    List<Scored> unscored = plans.stream().map(plan -> new Scored(plan, Score.UNCHANGED)).toList();
    return new SearchResult(
        threshold, unscored, null, List.of(), new TreeMap<>(), List.of(), List.of(), false);
  }

  /** The same result with another best model, such as one that was changed after the search. */
  public SearchResult withBest(CollapsePlan plan, Score score) {
    return new SearchResult(
        threshold,
        List.of(new Scored(plan, score)),
        bestBlock,
        peers,
        byDepth,
        trials,
        blocks,
        cutShort);
  }

  /** The same result with models that other people's methods choose. */
  public SearchResult withPeers(List<CollapsePlan> chosen) {
    return new SearchResult(
        threshold, ranked, bestBlock, chosen, byDepth, trials, blocks, cutShort);
  }

  /**
   * The result for another depth that the search passed; empty where it scored no model of it. Of
   * such a depth the search knows no {@link #bestBlock} and no {@link #peers}.
   */
  public Optional<SearchResult> at(int depth) {
    if (depth == plan().depth()) {
      return Optional.of(this);
    }
    return Optional.ofNullable(byDepth.get(depth))
        .map(
            best ->
                new SearchResult(
                    threshold, best, null, List.of(), byDepth, trials, blocks, cutShort));
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
