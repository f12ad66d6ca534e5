package dev.laco.collapse;

import dev.laco.UsageException;
import dev.laco.collapse.SearchResult.Scored;
import java.util.ArrayList;
import java.util.Collections;
import java.util.Comparator;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.function.BooleanSupplier;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;

/**
 * Finds a model of a given depth by beam search: a step merges any span of layers by any rule.
 *
 * <p>Models are compared with others of the same depth. The search goes through the depths from the
 * original's down. At each depth, every merge of the best models there is scored in one call, and
 * the merged model is compared at its own depth. Of models with equal scores the one with the lower
 * base wins, then the one with fewer followers, then the one with the earlier rule, so that equal
 * scores give equal results.
 */
public final class SpanSearch {
  /** How many models of a depth a search ranks. */
  private static final int RANKED = 8;

  private final SpanSettings settings;
  private final CollapsePlan original;
  private final Scorer scorer;
  private final Comparator<State> bestFirst;
  private final List<Trial> trials = new ArrayList<>();
  private final Set<CollapsePlan> seen = new HashSet<>();

  /** For each depth, the models found. */
  private final List<List<State>> found = new ArrayList<>();

  /** A search in the model that {@code source} names; settings must have been checked. */
  public SpanSearch(SpanSettings settings, CollapsePlan.Source source, Scorer scorer) {
    this.settings = settings;
    this.original = CollapsePlan.identity(source);
    this.scorer = scorer;
    this.bestFirst =
        Comparator.comparingDouble((State state) -> -value(state.score()))
            .thenComparingInt(state -> state.merge().base())
            .thenComparingInt(state -> state.merge().followers())
            .thenComparingInt(state -> settings.rules().indexOf(state.merge().rule()))
            .thenComparingInt(State::trial);
    for (int depth = 0; depth <= source.layers(); depth++) {
      found.add(new ArrayList<>());
    }
  }

  /** A step from one model to the next; {@code base} is an index into the former. */
  record Merge(int base, int followers, MergeRule rule) {}

  /**
   * A model that the search has scored.
   *
   * @param parent the model that {@code merge} was applied to; null for the original
   * @param trial number of its trial
   */
  record State(CollapsePlan plan, Score score, @Nullable State parent, Merge merge, int trial) {
    Scored scored() {
      return new Scored(plan, score);
    }
  }

  /**
   * Searches for a depth.
   *
   * @param target at most the model's depth, less by a multiple of {@link SpanSettings#align}
   * @param budget when it is spent the best model of the target depth so far is the result; if
   *     there is none yet, the best one so far is filled up (docs/method.md)
   * @param listener told of every candidate
   * @throws UsageException if the settings cannot lead there; the message says what can be reached
   */
  public SearchResult reach(int target, SearchBudget budget, TrialListener listener) {
    int depth = original.depth();
    if (target == depth) {
      return SearchResult.known(original);
    }
    CollapseSettings.requireReach(target, settings.smallestDepth(depth), depth);
    BooleanSupplier spent = budget.start(scorer);
    State root =
        new State(
            original,
            Score.UNCHANGED,
            null,
            new Merge(0, 0, settings.rules().getFirst()),
            Trial.ORIGINAL);
    found.get(depth).add(root);
    int steps = depth - target + (settings.blocks() ? 1 : 0);
    int at = depth;
    for (; at > target && !spent.getAsBoolean(); at--) {
      List<State> beam = best(at, settings.beamWidth());
      if (!beam.isEmpty()) {
        scorer.keep(beam.stream().map(State::plan).toList());
        double progress = (double) (depth - at + 1) / steps;
        expand(beam, target, (trial, share) -> listener.onTrial(trial, progress));
        State closest = closest(target);
        listener.onBest(closest.plan(), closest.score());
      }
    }
    boolean cutShort = at > target || (settings.blocks() && spent.getAsBoolean());
    if (settings.blocks() && !cutShort) {
      removeBlocks(root, depth - target, (trial, share) -> listener.onTrial(trial, 1));
    }
    return result(target, cutShort);
  }

  /** Every removal of that many layers in one piece: what fits after a search may like best. */
  private void removeBlocks(State root, int removed, TrialListener listener) {
    List<Merge> merges = blocks(removed);
    score(Collections.nCopies(merges.size(), root), merges, listener);
  }

  private List<Merge> blocks(int removed) {
    return IntStream.range(settings.lowest(), settings.highest() - removed)
        .mapToObj(base -> new Merge(base, removed, MergeRule.DROP))
        .toList();
  }

  private List<State> best(int depth, int count) {
    return found.get(depth).stream().sorted(bestFirst).limit(count).toList();
  }

  /** The best of the models that are closest to the target. */
  private State closest(int target) {
    int depth = target;
    while (found.get(depth).isEmpty()) {
      depth++;
    }
    return best(depth, 1).getFirst();
  }

  /** Scores every merge of these models. */
  private void expand(List<State> beam, int target, TrialListener listener) {
    List<State> parents = new ArrayList<>();
    List<Merge> merges = new ArrayList<>();
    for (State parent : beam) {
      for (Merge merge : merges(parent.plan(), target)) {
        parents.add(parent);
        merges.add(merge);
      }
    }
    score(parents, merges, listener);
  }

  /** Scores the models that merges lead to, of each parent its own, but for those seen before. */
  private void score(List<State> allParents, List<Merge> allMerges, TrialListener listener) {
    List<State> parents = new ArrayList<>();
    List<Merge> merges = new ArrayList<>();
    List<CollapsePlan> plans = new ArrayList<>();
    for (int i = 0; i < allMerges.size(); i++) {
      CollapsePlan plan = apply(allMerges.get(i), allParents.get(i).plan());
      if (seen.add(plan)) {
        parents.add(allParents.get(i));
        merges.add(allMerges.get(i));
        plans.add(plan);
      }
    }
    List<Score> scores = scorer.score(plans);
    for (int i = 0; i < plans.size(); i++) {
      State parent = parents.get(i);
      Merge merge = merges.get(i);
      Trial trial =
          new Trial(
              trials.size(),
              merge.base(),
              merge.followers(),
              parent.plan().depth(),
              scores.get(i),
              false,
              new Trial.Choice(parent.trial(), merge.rule(), settings.objective()));
      trials.add(trial);
      CollapsePlan plan = plans.get(i);
      found.get(plan.depth()).add(new State(plan, scores.get(i), parent, merge, trial.step()));
      listener.onTrial(trial, 0);
    }
  }

  /** Every merge of a model that does not lead below the target. */
  private List<Merge> merges(CollapsePlan plan, int target) {
    List<Merge> merges = new ArrayList<>();
    List<LayerMix> layers = plan.layers();
    for (int base = 0; base < plan.depth(); base++) {
      if (layers.get(base).base() >= settings.lowest()) {
        int most = Math.min(settings.mergeLayers() - 1, plan.depth() - target);
        for (int followers = settings.align();
            followers <= most
                && base + followers < plan.depth()
                && layers.get(base + followers).base() < settings.highest();
            followers += settings.align()) {
          for (MergeRule rule : settings.rules()) {
            merges.add(new Merge(base, followers, rule));
          }
        }
      }
    }
    return merges;
  }

  private CollapsePlan apply(Merge merge, CollapsePlan plan) {
    return plan.fold(merge.base(), merge.followers(), merge.rule(), settings.norms(merge.rule()));
  }

  private SearchResult result(int target, boolean cutShort) {
    State chosen = closest(target);
    for (State state = chosen; state.parent() != null; state = state.parent()) {
      trials.set(state.trial(), trials.get(state.trial()).accept());
    }
    List<Scored> ranked;
    if (chosen.plan().depth() > target) {
      CollapsePlan filled = fill(chosen, target);
      ranked = List.of(new Scored(filled, scorer.score(List.of(filled)).getFirst()));
    } else {
      ranked = best(target, RANKED).stream().map(State::scored).toList();
    }
    return new SearchResult(
        null, ranked, bestBlock(target), List.of(), byDepth(target), trials, List.of(), cutShort);
  }

  /** The best model that lacks one block of consecutive layers; null if none was scored. */
  private @Nullable Scored bestBlock(int target) {
    Set<CollapsePlan> blocks =
        blocks(original.depth() - target).stream()
            .map(merge -> apply(merge, original))
            .collect(Collectors.toSet());
    return found.get(target).stream()
        .filter(state -> blocks.contains(state.plan()))
        .min(bestFirst)
        .map(State::scored)
        .orElse(null);
  }

  private SortedMap<Integer, List<Scored>> byDepth(int target) {
    SortedMap<Integer, List<Scored>> best = new TreeMap<>();
    for (int depth = target; depth < original.depth(); depth++) {
      List<Scored> ranked = best(depth, RANKED).stream().map(State::scored).toList();
      if (!ranked.isEmpty()) {
        best.put(depth, ranked);
      }
    }
    return best;
  }

  /**
   * Brings a model down to the target depth without scoring. First it applies the best merges that
   * were scored for the model or for those it was made of, latest first, if the layers that they
   * merge are still the same. Then it removes layers before the last one that may be merged.
   */
  private CollapsePlan fill(State start, int target) {
    CollapsePlan plan = start.plan();
    for (State scored = start; scored != null; scored = scored.parent()) {
      for (State known : mergesOf(scored)) {
        int base = plan.layers().indexOf(scored.plan().layers().get(known.merge().base()));
        if (base >= 0
            && plan.depth() - known.merge().followers() >= target
            && sameRun(plan, base, scored.plan(), known.merge())) {
          Merge moved = new Merge(base, known.merge().followers(), known.merge().rule());
          plan = apply(moved, plan);
        }
      }
    }
    while (plan.depth() > target) {
      plan = plan.fold(lastBase(plan), settings.align(), MergeRule.DROP, NormsPolicy.BASE);
    }
    return plan;
  }

  /** What is known of the merges of a model, best first. */
  private List<State> mergesOf(State scored) {
    return found.stream()
        .flatMap(List::stream)
        .filter(state -> state.parent() != null && state.parent().trial() == scored.trial())
        .sorted(bestFirst)
        .toList();
  }

  private static boolean sameRun(CollapsePlan plan, int base, CollapsePlan other, Merge merge) {
    int end = base + merge.followers() + 1;
    return end <= plan.depth()
        && plan.layers()
            .subList(base, end)
            .equals(other.layers().subList(merge.base(), merge.base() + merge.followers() + 1));
  }

  /**
   * Index of the base whose followers {@link #fill} removes, {@link SpanSettings#align} of them:
   * they end with the second-to-last layer that may be merged, or with the last one if the base
   * would otherwise be too low.
   */
  private int lastBase(CollapsePlan plan) {
    int last = plan.depth() - 1;
    while (plan.layers().get(last).base() >= settings.highest()) {
      last--;
    }
    int base = last - 1 - settings.align();
    boolean canSpareIt = base >= 0 && plan.layers().get(base).base() >= settings.lowest();
    return canSpareIt ? base : base + 1;
  }

  private double value(Score score) {
    double value = settings.objective().value(score);
    return Double.isNaN(value) ? Double.NEGATIVE_INFINITY : value;
  }
}
