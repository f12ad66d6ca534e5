package dev.laco.collapse;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;

/** Models without some layers, and those that keep one of these and lack another instead. */
public final class Neighbours {
  private Neighbours() {}

  /** Layers {@code [from, to)} that are removed while those around them stay. */
  private record Run(int from, int to) {
    int size() {
      return to - from;
    }
  }

  /**
   * Every model in which a layer at the end of one run of removed layers comes back and a layer
   * beside a run goes, without splitting one: first those that make small runs smaller and large
   * ones larger, since what is removed in one piece is made up for by one fit. The first and the
   * last layer stay.
   *
   * @param plan originals only
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
