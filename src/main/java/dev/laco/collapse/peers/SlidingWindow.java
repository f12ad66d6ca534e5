package dev.laco.collapse.peers;

import dev.laco.UsageException;
import dev.laco.collapse.Bisection;
import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.MergeRule;
import dev.laco.collapse.NormsPolicy;
import dev.laco.collapse.Scorer;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * Sliding-window merging (arXiv 2502.19159) as its published code runs it. A window starts at the
 * second-to-last layer and grows by one earlier layer at a time, while the model in which the
 * window's layers are merged has a similarity to the original above a threshold. When the
 * similarity falls below it, the window without its newest layer is merged, and the next window
 * starts before it. As in LaCo's code the sum of differences telescopes: the last layer's matrices
 * replace the first's.
 *
 * <p>The threshold is the highest of a {@link Bisection} that reaches the target depth. At the
 * target depth windows stop growing.
 */
public final class SlidingWindow {
  private final CollapsePlan original;
  private final Scorer scorer;
  private final Map<CollapsePlan, Double> known = new HashMap<>();

  /** Windows over the model that {@code source} names. */
  public SlidingWindow(CollapsePlan.Source source, Scorer scorer) {
    this.original = CollapsePlan.identity(source);
    this.scorer = scorer;
  }

  /**
   * The model of the highest threshold that reaches a depth.
   *
   * @throws UsageException if none does
   */
  public CollapsePlan reach(int target) {
    Bisection bisection = new Bisection();
    CollapsePlan best = null;
    for (int step = 0; step < Bisection.STEPS; step++) {
      CollapsePlan found = run(bisection.threshold(), target);
      bisection.halve(found != null);
      if (found != null) {
        best = found;
      }
    }
    if (best == null) {
      throw new UsageException("no threshold of sliding windows leaves " + target + " layers");
    }
    return best;
  }

  /** The model of one threshold; null if it stays deeper than the target. */
  private @Nullable CollapsePlan run(double threshold, int target) {
    CollapsePlan current = original;
    CollapsePlan open = original;
    int last = original.depth() - 2;
    int first = last - 1;
    while (first >= 0 && open.depth() > target) {
      CollapsePlan candidate =
          current.fold(first, last - first, MergeRule.REPLACE, NormsPolicy.BASE);
      if (similarity(candidate) > threshold) {
        open = candidate;
        first--;
      } else {
        // What was merged before goes on, and the next window opens below it.
        last = open.equals(current) ? last - 1 : first;
        current = open;
        first = last - 1;
      }
    }
    return open.depth() == target ? open : null;
  }

  private double similarity(CollapsePlan plan) {
    return known.computeIfAbsent(plan, p -> scorer.score(List.of(p)).getFirst().mean());
  }
}
