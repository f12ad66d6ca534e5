package dev.laco.collapse;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;

/** Exchanges in models that lack some layers: one removed layer returns, another is removed. */
public final class Neighbours {
  private Neighbours() {}

  /** A longest run of consecutive removed layers, {@code [from, to)}. */
  private record Run(int from, int to) {
    int size() {
      return to - from;
    }
  }

  /**
   * Every model in which a layer at either end of a run of removed layers returns and a layer next
   * to a run is removed, so that no run is split. Models that shrink small runs and grow large ones
   * come first, because one fit makes up for a whole run. The first and the last layer are never
   * removed.
   *
   * @param plan without mixes
   */
  public static List<CollapsePlan> of(CollapsePlan plan) {
    int depth = plan.source().layers();
    Set<Integer> removed = new TreeSet<>();
    for (int layer = 0; layer < depth; layer++) {
      removed.add(layer);
    }
    plan.layers().forEach(mix -> removed.remove(mix.base()));
    List<Run> runs = runs(removed);
    List<Run> smallFirst = runs.stream().sorted(Comparator.comparingInt(Run::size)).toList();
    List<Run> largeFirst = smallFirst.reversed();
    Set<CollapsePlan> moved = new LinkedHashSet<>();
    for (Run back : smallFirst) {
      for (int returning : new TreeSet<>(List.of(back.from, back.to - 1))) {
        for (Run grown : largeFirst) {
          for (int going : List.of(grown.from - 1, grown.to)) {
            boolean splits = grown.equals(back) && Math.abs(going - returning) < back.size();
            if (going > 0 && going < depth - 1 && !removed.contains(going) && !splits) {
              Set<Integer> others = new TreeSet<>(removed);
              others.remove(returning);
              others.add(going);
              moved.add(without(plan, others));
            }
          }
        }
      }
    }
    moved.remove(plan);
    return List.copyOf(moved);
  }

  private static List<Run> runs(Set<Integer> ascending) {
    List<Run> runs = new ArrayList<>();
    for (int layer : ascending) {
      if (!runs.isEmpty() && runs.getLast().to == layer) {
        runs.set(runs.size() - 1, new Run(runs.getLast().from, layer + 1));
      } else {
        runs.add(new Run(layer, layer + 1));
      }
    }
    return runs;
  }

  private static CollapsePlan without(CollapsePlan plan, Set<Integer> removed) {
    List<LayerMix> kept = new ArrayList<>();
    for (int layer = 0; layer < plan.source().layers(); layer++) {
      if (!removed.contains(layer)) {
        kept.add(LayerMix.original(layer));
      }
    }
    return new CollapsePlan(plan.source(), kept);
  }
}
