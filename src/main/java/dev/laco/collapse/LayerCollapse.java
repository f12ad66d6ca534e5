package dev.laco.collapse;

import dev.laco.UsageException;
import dev.laco.collapse.SearchResult.Finalist;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * Algorithm 1 of arXiv 2402.11187 as its published code runs it: walk from the last layers to the
 * first, fold the layers after the base into it, and keep the merge if the last hidden states still
 * point the way the original's did.
 *
 * <p>Scores are remembered by plan, so that loops with other thresholds pay only for what is new.
 */
public final class LayerCollapse {
  private static final int BISECTION_HALVINGS = 12;

  private final CollapseSettings settings;
  private final CollapsePlan original;
  private final Scorer scorer;
  private final Map<CollapsePlan, Score> known = new HashMap<>();

  /** A loop over the model that {@code source} names; settings must have been checked. */
  public LayerCollapse(CollapseSettings settings, CollapsePlan.Source source, Scorer scorer) {
    this.settings = settings;
    this.original = CollapsePlan.identity(source);
    this.scorer = scorer;
  }

  /**
   * Runs the loop with a threshold.
   *
   * @param threshold T: a mean strictly above it is accepted
   * @param onTrial told of every trial as it is decided
   */
  public SearchResult run(double threshold, TrialListener onTrial) {
    return loop(threshold, 1, onTrial);
  }

  /**
   * The highest threshold whose loop reaches a depth, found by bisection over [-1, 1]; reach is not
   * monotone in T, so it is the highest one tried that counts. The loop stops at that depth: spans
   * never go below it.
   *
   * @param target N, at most the model's depth
   * @param onTrial told of every candidate that had to be scored
   * @throws UsageException if no threshold tried reaches it; the message says what was reachable
   */
  public SearchResult reach(int target, TrialListener onTrial) {
    if (target == original.depth()) {
      return new SearchResult(1.0, List.of(Finalist.unchanged(original)), List.of());
    }
    double low = -1;
    double high = 1;
    int shallowest = original.depth();
    SearchResult best = null;
    for (int halving = 0; halving < BISECTION_HALVINGS; halving++) {
      double threshold = (low + high) / 2;
      int before = halving;
      SearchResult result =
          loop(
              threshold,
              target,
              (trial, share) -> onTrial.onTrial(trial, (before + share) / BISECTION_HALVINGS));
      shallowest = Math.min(shallowest, result.plan().depth());
      if (result.plan().depth() == target) {
        best = result;
        low = threshold;
      } else {
        high = threshold;
      }
    }
    if (best == null) {
      throw new UsageException(
          "a depth of "
              + target
              + " layers is out of reach with these settings: the shallowest reached was "
              + shallowest
              + " of "
              + original.depth()
              + "; raise --merge-layers, lower --interval or --lowest, or ask for "
              + shallowest
              + " or more");
    }
    double lowest =
        best.trials().stream()
            .filter(Trial::accepted)
            .mapToDouble(t -> t.score().mean())
            .min()
            .orElseThrow();
    return new SearchResult(Math.nextDown(lowest), best.finalists(), best.trials());
  }

  private SearchResult loop(double threshold, int target, TrialListener onTrial) {
    CollapsePlan current = original;
    Score reached = Score.UNCHANGED;
    List<Trial> trials = new ArrayList<>();
    int first = settings.highest() - settings.mergeLayers();
    int base = first;
    while (base >= settings.lowest() && current.depth() > target) {
      int depth = current.depth();
      int followers =
          Math.min(Math.min(settings.mergeLayers() - 1, depth - base - 1), depth - target);
      CollapsePlan candidate = current.fold(base, followers, settings.rule(), settings.norms());
      boolean isNew = !known.containsKey(candidate);
      Score score =
          known.computeIfAbsent(candidate, plan -> scorer.score(List.of(plan)).getFirst());
      Trial trial =
          new Trial(trials.size(), base, followers, depth, score, score.mean() > threshold);
      trials.add(trial);
      if (isNew) {
        onTrial.onTrial(trial, (double) (first - base + 1) / (first - settings.lowest() + 1));
      }
      // The published code also pulls a base that lies past the end back into the model. That
      // cannot happen: a span leaves its base, which then moves down by at least one.
      if (trial.accepted()) {
        current = candidate;
        reached = score;
        base -= settings.interval();
      } else {
        base--;
      }
    }
    return new SearchResult(threshold, List.of(new Finalist(current, reached)), trials);
  }
}
