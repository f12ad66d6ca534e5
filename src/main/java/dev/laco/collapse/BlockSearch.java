package dev.laco.collapse;

import dev.laco.collapse.BlockSettings.Block;
import dev.laco.collapse.SearchResult.Scored;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.TreeMap;
import java.util.stream.Collectors;

/**
 * Finds the blocks of layers whose removal costs least, from what the removal of each block alone
 * costs. The costs of blocks that are apart are added, so that the best models are found without a
 * run of any (dynamic programming over the layers). Only the models that are found are scored.
 */
public final class BlockSearch {
  /** The most models that a search finds. */
  public static final int FOUND = 3;

  /** What a model costs at most relative to the cheapest, to be found beside it. */
  private static final double CLOSE = 1.15;

  /**
   * What the cheapest model costs at least, in nats of divergence, where others are found beside
   * it. Beside a cheaper one they would cost less than 0.004 nats more, 0.4 % of perplexity.
   */
  private static final double TOLD_APART = 0.025;

  /**
   * The share by which a model costs more for each block but the first: costs are uncertain, and a
   * fit makes up for one long block better than for several that cost the same.
   */
  private static final double APART = 0.03;

  private final BlockSettings settings;
  private final CollapsePlan original;
  private final Scorer scorer;

  /** A search in the model that {@code source} names. */
  public BlockSearch(BlockSettings settings, CollapsePlan.Source source, Scorer scorer) {
    this.settings = settings;
    this.original = CollapsePlan.identity(source);
    this.scorer = scorer;
  }

  /** Blocks that a model lacks, ascending, and the sum of their costs. */
  private record Removal(List<Block> blocks, double sum) {
    /** What the model costs. */
    double cost() {
      return sum * (1 + APART * (blocks.size() - 1));
    }

    /** Whether the model lacks all of these layers. */
    boolean hasAll(Set<Integer> layers) {
      return layers.stream().allMatch(layer -> blocks.stream().anyMatch(b -> b.has(layer)));
    }

    Removal with(Block block, double more) {
      List<Block> longer = new ArrayList<>(blocks);
      longer.add(block);
      return new Removal(longer, sum + more);
    }
  }

  /**
   * The models whose blocks cost least together, the best first: one, and those that cost about as
   * little where it costs enough for them to be told apart.
   *
   * @param costs one for every block of the settings, which must have been checked
   * @param listener told of every removal of a block that leads to one of the models
   */
  public SearchResult run(List<BlockCost> costs, TrialListener listener) {
    List<Removal> removals = cheapest(settings, costs, original.depth(), settings.removed());
    return scored(removals, costs, listener);
  }

  /**
   * The models of {@link #run} that lack so many layers; none is scored.
   *
   * @param settings which must have been checked
   * @param source names the original
   * @param costs one for every block of the settings
   * @param removed at most as many as the settings remove, a multiple of their alignment
   */
  public static List<CollapsePlan> cheapest(
      BlockSettings settings, CollapsePlan.Source source, List<BlockCost> costs, int removed) {
    CollapsePlan original = CollapsePlan.identity(source);
    return cheapest(settings, costs, original.depth(), removed).stream()
        .map(removal -> path(original, removal).getLast())
        .toList();
  }

  /**
   * The cheapest removals of so many of {@code depth} layers, behind which one of the needed layers
   * is left if any such removal is.
   */
  private static List<Removal> cheapest(
      BlockSettings settings, List<BlockCost> costs, int depth, int most) {
    Set<Integer> needed = settings.needed();
    List<Removal> all = removals(costs, depth, most);
    if (needed.isEmpty() || all.stream().noneMatch(removal -> removal.hasAll(needed))) {
      return closest(all);
    }
    // Of the removals that leave one of them, the cheapest leave this one or that one.
    List<Removal> found =
        needed.stream()
            .map(layer -> costs.stream().filter(cost -> !cost.block().has(layer)).toList())
            .flatMap(others -> removals(others, depth, most).stream())
            .distinct()
            .toList();
    return closest(found.isEmpty() ? all : found);
  }

  /** The cheapest of some removals, and those that cost about as little. */
  private static List<Removal> closest(List<Removal> removals) {
    List<Removal> found =
        removals.stream().sorted(Comparator.comparingDouble(Removal::cost)).toList();
    Removal first = found.getFirst();
    return found.stream()
        .limit(first.cost() < TOLD_APART ? 1 : FOUND)
        .filter(removal -> removal.equals(first) || removal.cost() <= CLOSE * first.cost())
        .toList();
  }

  /** Removals of so many of {@code depth} layers, the cheapest among them. */
  private static List<Removal> removals(List<BlockCost> costs, int depth, int most) {
    Map<Integer, List<BlockCost>> byBeginning =
        costs.stream().collect(Collectors.groupingBy(cost -> cost.block().from()));
    // Of the first layers, all those that remove so many of them and keep the next layer or end.
    List<List<List<Removal>>> best = new ArrayList<>();
    for (int layer = 0; layer <= depth + 1; layer++) {
      List<List<Removal>> byRemoved = new ArrayList<>();
      for (int removed = 0; removed <= most; removed++) {
        byRemoved.add(new ArrayList<>());
      }
      best.add(byRemoved);
    }
    best.getFirst().getFirst().add(new Removal(List.of(), 0));
    for (int layer = 0; layer < depth; layer++) {
      for (int removed = 0; removed <= most; removed++) {
        List<Removal> kept = promising(best.get(layer).get(removed));
        best.get(layer + 1).get(removed).addAll(kept);
        for (BlockCost next : byBeginning.getOrDefault(layer, List.of())) {
          Block block = next.block();
          if (removed + block.length() <= most) {
            // The layer behind a block stays: two blocks side by side are one longer block.
            List<Removal> behind =
                best.get(Math.min(block.to() + 1, depth + 1)).get(removed + block.length());
            kept.forEach(removal -> behind.add(removal.with(block, next.divergence())));
          }
        }
      }
    }
    List<Removal> found = new ArrayList<>(best.get(depth).get(most));
    found.addAll(best.get(depth + 1).get(most));
    return found;
  }

  /**
   * The removals that can still become one of the best, whatever else is removed: all but those
   * that as many others as are sought surpass, with less cost and no more blocks.
   */
  private static List<Removal> promising(List<Removal> removals) {
    removals.sort(Comparator.comparingDouble(Removal::sum));
    List<Removal> kept = new ArrayList<>();
    for (Removal removal : removals) {
      int blocks = removal.blocks.size();
      if (kept.stream().filter(other -> other.blocks.size() <= blocks).count() < FOUND) {
        kept.add(removal);
      }
    }
    return kept;
  }

  /** Scores what each removal leads to, block by block from the rear. */
  private SearchResult scored(
      List<Removal> removals, List<BlockCost> costs, TrialListener listener) {
    Set<CollapsePlan> plans = new LinkedHashSet<>();
    List<List<CollapsePlan>> paths = new ArrayList<>();
    for (Removal removal : removals) {
      List<CollapsePlan> path = path(original, removal);
      plans.addAll(path);
      paths.add(path);
    }
    List<CollapsePlan> all = List.copyOf(plans);
    List<Score> scores = scorer.score(all);
    Map<CollapsePlan, Trial> trials = new LinkedHashMap<>();
    for (int i = 0; i < removals.size(); i++) {
      int parent = Trial.ORIGINAL;
      int depth = original.depth();
      List<Block> blocks = removals.get(i).blocks().reversed();
      for (int step = 0; step < blocks.size(); step++) {
        CollapsePlan plan = paths.get(i).get(step);
        Block block = blocks.get(step);
        if (!trials.containsKey(plan)) {
          Trial trial =
              new Trial(
                  trials.size(),
                  block.from() - 1,
                  block.length(),
                  depth,
                  scores.get(all.indexOf(plan)),
                  i == 0,
                  new Trial.Choice(parent, MergeRule.DROP, Objective.NLL));
          trials.put(plan, trial);
          listener.onTrial(trial, 1);
        }
        parent = Objects.requireNonNull(trials.get(plan)).step();
        depth -= block.length();
      }
    }
    List<Scored> ranked =
        paths.stream()
            .map(
                path ->
                    new Scored(
                        path.getLast(), Objects.requireNonNull(trials.get(path.getLast())).score()))
            .toList();
    listener.onBest(ranked.getFirst().plan(), ranked.getFirst().score());
    return new SearchResult(
        null, ranked, null, List.of(), new TreeMap<>(), List.copyOf(trials.values()), costs, false);
  }

  /** What the removal of a block after the other leads to, from the rear. */
  private static List<CollapsePlan> path(CollapsePlan original, Removal removal) {
    List<CollapsePlan> path = new ArrayList<>();
    CollapsePlan plan = original;
    for (Block block : removal.blocks().reversed()) {
      plan = plan.fold(block.from() - 1, block.length(), MergeRule.DROP, NormsPolicy.BASE);
      path.add(plan);
    }
    return path;
  }
}
