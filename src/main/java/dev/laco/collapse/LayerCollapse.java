package dev.laco.collapse;

import dev.laco.Setting;
import dev.laco.UsageException;
import dev.laco.collapse.SearchResult.Scored;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.function.BooleanSupplier;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;

/**
 * Algorithm 1 of LaCo (arXiv 2402.11187) as its published code runs it: the base moves from the
 * last layers to the first, the layers after the base are merged into it, and the merge is accepted
 * if the mean cosine of the last hidden states with the original's stays above the threshold.
 *
 * <p>Scores are remembered by plan, so that a loop with another threshold scores new plans only.
 * The candidates that would follow rejections may be scored in the same pass as the next one. A
 * mean so close to the threshold that this could change the decision is measured again alone;
 * decisions are therefore those of a loop that scores one candidate at a time.
 */
public final class LayerCollapse {
  private final CollapseSettings settings;
  private final CollapsePlan original;
  private final Scorer scorer;
  private final Lookahead lookahead;
  private final Map<CollapsePlan, Known> known = new HashMap<>();
  private final Set<CollapsePlan> decided = new LinkedHashSet<>();

  /**
   * A score.
   *
   * @param alone whether no other candidate was scored beside it
   */
  private record Known(Score score, boolean alone) {}

  /** A loop that scores one candidate at a time. */
  public LayerCollapse(CollapseSettings settings, CollapsePlan.Source source, Scorer scorer) {
    this(settings, source, scorer, Lookahead.NONE);
  }

  /**
   * A loop over the model that {@code source} names; settings must have been checked.
   *
   * @param lookahead how many candidates are scored at once
   */
  public LayerCollapse(
      CollapseSettings settings, CollapsePlan.Source source, Scorer scorer, Lookahead lookahead) {
    this.settings = settings;
    this.original = CollapsePlan.identity(source);
    this.scorer = scorer;
    this.lookahead = lookahead;
  }

  /**
   * Runs the loop with a threshold.
   *
   * @param threshold T: a mean strictly above it is accepted
   * @param onTrial told of every trial as it is decided
   */
  public SearchResult run(double threshold, TrialListener onTrial) {
    SearchResult result = loop(threshold, 1, onTrial);
    drop();
    return result;
  }

  /**
   * Finds the highest threshold whose loop reaches a depth, by {@link Bisection}. A loop stops at
   * the depth, and no merge goes below it.
   *
   * @param target the depth N, at most the model's
   * @param onTrial told of every candidate that had to be scored
   * @throws UsageException if no threshold tried reaches it; the message says what was reachable
   */
  public SearchResult reach(int target, TrialListener onTrial) {
    return reach(target, SearchBudget.UNLIMITED, onTrial);
  }

  /**
   * Does the same within a budget, which is checked before every loop. When it is spent, the result
   * is that of the highest threshold so far that reached the depth; if there is none, that of one
   * more loop, which accepts every merge.
   */
  public SearchResult reach(int target, SearchBudget budget, TrialListener onTrial) {
    if (target == original.depth()) {
      return SearchResult.known(1.0, original);
    }
    Bisection bisection = new Bisection();
    int shallowest = original.depth();
    SearchResult best = null;
    boolean cutShort = false;
    BooleanSupplier spent = budget.start(scorer);
    for (int step = 0; step < Bisection.STEPS; step++) {
      cutShort = spent.getAsBoolean();
      if (cutShort && best != null) {
        break;
      }
      double threshold = cutShort ? -1 : bisection.threshold();
      int before = step;
      SearchResult result =
          loop(
              threshold,
              target,
              (trial, share) -> onTrial.onTrial(trial, (before + share) / Bisection.STEPS));
      shallowest = Math.min(shallowest, result.plan().depth());
      boolean reached = result.plan().depth() == target;
      if (reached) {
        best = result;
        onTrial.onBest(result.plan(), result.score());
      }
      if (cutShort) {
        break;
      }
      bisection.halve(reached);
    }
    if (best == null) {
      throw new UsageException(
          "a depth of "
              + target
              + " layers is out of reach with these settings: the shallowest reached was "
              + shallowest
              + " of "
              + original.depth()
              + "; raise "
              + Setting.of("mergeLayers")
              + ", lower "
              + Setting.of("interval")
              + " or "
              + Setting.of("lowest")
              + ", or ask for "
              + shallowest
              + " or more");
    }
    SearchResult settled = loop(settle(best), target, onTrial);
    drop();
    return new SearchResult(
        Math.nextDown(lowestAccepted(settled)),
        settled.ranked(),
        null,
        List.of(),
        settled.byDepth(),
        settled.trials(),
        List.of(),
        cutShort);
  }

  /**
   * Measures again, alone, the accepted trials that may have the lowest mean, because that mean
   * becomes the threshold of the result.
   *
   * @return the threshold that bisection had tried
   */
  private double settle(SearchResult result) {
    double lowest = lowestAccepted(result) + scorer.noise();
    CollapsePlan current = original;
    for (Trial trial : result.trials()) {
      if (trial.accepted()) {
        current = fold(current, trial.base(), trial.merged());
        if (trial.score().mean() <= lowest) {
          alone(current);
        }
      }
    }
    return Objects.requireNonNull(result.threshold());
  }

  private static double lowestAccepted(SearchResult result) {
    return result.trials().stream()
        .filter(Trial::accepted)
        .mapToDouble(trial -> trial.score().mean())
        .min()
        .orElseThrow();
  }

  /** Tells the scorer which scores decided nothing. */
  private void drop() {
    scorer.dropped(known.keySet().stream().filter(plan -> !decided.contains(plan)).toList());
  }

  private SearchResult loop(double threshold, int target, TrialListener onTrial) {
    CollapsePlan current = original;
    Score reached = Score.UNCHANGED;
    List<Trial> trials = new ArrayList<>();
    int first = settings.firstBase();
    int base = first;
    while (base >= settings.lowest() && current.depth() > target) {
      int depth = current.depth();
      int followers = followers(depth, base, target);
      CollapsePlan candidate = fold(current, base, followers);
      Score score = score(current, base, target, threshold, trials);
      boolean isNew = decided.add(candidate);
      Trial trial =
          new Trial(trials.size(), base, followers, depth, score, score.mean() > threshold);
      trials.add(trial);
      if (isNew) {
        onTrial.onTrial(trial, (double) (first - base + 1) / settings.bases());
      }
      // The published code also pulls a base that lies past the end back into the model. That
      // cannot happen: a span leaves its base, which then moves down by at least one.
      if (trial.accepted()) {
        current = candidate;
        scorer.accepted(current);
        reached = score;
        onTrial.onBest(current, reached);
        base -= settings.interval();
      } else {
        base--;
      }
    }
    return new SearchResult(
        threshold,
        List.of(new Scored(current, reached)),
        null,
        List.of(),
        byDepth(),
        trials,
        List.of(),
        false);
  }

  /** For every depth, the most similar of the models that the loop has decided on so far. */
  private SortedMap<Integer, List<Scored>> byDepth() {
    SortedMap<Integer, List<Scored>> best = new TreeMap<>();
    for (CollapsePlan plan : decided) {
      Scored scored = new Scored(plan, Objects.requireNonNull(known.get(plan)).score());
      best.merge(
          plan.depth(),
          List.of(scored),
          (a, b) -> b.getFirst().score().mean() > a.getFirst().score().mean() ? b : a);
    }
    return best;
  }

  private int followers(int depth, int base, int target) {
    return Math.min(Math.min(settings.mergeLayers() - 1, depth - base - 1), depth - target);
  }

  private CollapsePlan fold(CollapsePlan current, int base, int followers) {
    return current.fold(base, followers, settings.rule(), settings.norms());
  }

  /** The score of the candidate at {@code base}, measured alone if it is close to the threshold. */
  private Score score(
      CollapsePlan current, int base, int target, double threshold, List<Trial> trials) {
    CollapsePlan candidate = fold(current, base, followers(current.depth(), base, target));
    if (!known.containsKey(candidate)) {
      ask(unknown(current, base, target, threshold, trials));
    }
    Score score = Objects.requireNonNull(known.get(candidate)).score();
    return Math.abs(score.mean() - threshold) <= scorer.noise() ? alone(candidate) : score;
  }

  /** The next candidates if each is rejected, as many as it pays to score in one pass. */
  private List<CollapsePlan> unknown(
      CollapsePlan current, int base, int target, double threshold, List<Trial> trials) {
    int accepted = (int) trials.stream().filter(Trial::accepted).count();
    int count = lookahead.next(scorer.passCost(), trials.size(), accepted);
    return IntStream.iterate(base, next -> next >= settings.lowest(), next -> next - 1)
        .mapToObj(next -> fold(current, next, followers(current.depth(), next, target)))
        .takeWhile(candidate -> !isAbove(threshold, known.get(candidate)))
        .filter(candidate -> !known.containsKey(candidate))
        .limit(count)
        .toList();
  }

  private static boolean isAbove(double threshold, @Nullable Known known) {
    return known != null && known.score().mean() > threshold;
  }

  private void ask(List<CollapsePlan> candidates) {
    List<Score> scores = scorer.score(candidates);
    for (int i = 0; i < scores.size(); i++) {
      known.put(candidates.get(i), new Known(scores.get(i), candidates.size() == 1));
    }
  }

  /** The score of a known candidate, measured alone. */
  private Score alone(CollapsePlan candidate) {
    Known before = Objects.requireNonNull(known.get(candidate));
    if (before.alone()) {
      return before.score();
    }
    Score score = scorer.scoreAlone(candidate);
    known.put(candidate, new Known(score, true));
    return score;
  }
}
