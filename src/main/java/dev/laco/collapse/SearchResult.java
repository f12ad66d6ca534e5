package dev.laco.collapse;

import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * What a search came to.
 *
 * @param threshold the T of the paper's loop that reproduces it; null where the search knows none
 * @param finalists the best models found of the depth that was asked for, best first; at least one
 * @param trials every candidate that was scored and counts, in order; those accepted lead to the
 *     first finalist
 * @param cutShort whether its budget ended the search before everything was tried
 */
public record SearchResult(
    @Nullable Double threshold, List<Finalist> finalists, List<Trial> trials, boolean cutShort) {
  /** A model, and how close it is to the original. */
  public record Finalist(CollapsePlan plan, Score score) {
    /** The original itself, which is not scored. */
    static Finalist unchanged(CollapsePlan original) {
      return new Finalist(original, Score.UNCHANGED);
    }
  }

  /** What a search came to that its budget did not end. */
  public SearchResult(@Nullable Double threshold, List<Finalist> finalists, List<Trial> trials) {
    this(threshold, finalists, trials, false);
  }

  public SearchResult {
    finalists = List.copyOf(finalists);
    trials = List.copyOf(trials);
    if (finalists.isEmpty()) {
      throw new IllegalArgumentException("a search ends with at least one model");
    }
  }

  /** What the search came to, with another model in place of its finalists. */
  public SearchResult with(Finalist chosen) {
    return new SearchResult(threshold, List.of(chosen), trials, cutShort);
  }

  /** A model that was known without a search; its score is not. */
  public static SearchResult known(CollapsePlan plan) {
    return new SearchResult(null, List.of(new Finalist(plan, Score.UNCHANGED)), List.of());
  }

  /** The models found, best first. */
  public List<CollapsePlan> plans() {
    return finalists.stream().map(Finalist::plan).toList();
  }

  /** The chosen model. */
  public CollapsePlan plan() {
    return finalists.getFirst().plan();
  }

  /** The same result with the chosen model's plan naming its new tensors where they are written. */
  public SearchResult withPlan(CollapsePlan plan) {
    return with(new Finalist(plan, score()));
  }

  /** Its score. */
  public Score score() {
    return finalists.getFirst().score();
  }

  /** Similarity of the chosen model to the original; 1 when nothing was merged. */
  public double finalSimilarity() {
    return score().mean();
  }
}
