package dev.laco.collapse;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.SortedMap;
import java.util.SortedSet;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.stream.IntStream;

/**
 * Which of the original's layers a pruned model keeps, merges and removes. All numbers are indices
 * of original layers, ascending.
 *
 * @param kept the bases of the pruned model's layers
 * @param merged for each base that other layers are merged into, these layers
 * @param removed layers that no tensor of the pruned model is mixed from
 */
public record KeptLayers(
    List<Integer> kept, SortedMap<Integer, List<Integer>> merged, List<Integer> removed) {
  /** The layers that a plan keeps, merges and removes. */
  public static KeptLayers of(CollapsePlan plan) {
    List<Integer> kept = plan.layers().stream().map(LayerMix::base).toList();
    SortedMap<Integer, List<Integer>> merged = new TreeMap<>();
    SortedSet<Integer> used = new TreeSet<>(kept);
    for (LayerMix mix : plan.layers()) {
      SortedSet<Integer> others = new TreeSet<>(mix.attention().terms().keySet());
      others.addAll(mix.feedForward().terms().keySet());
      others.addAll(mix.norms().terms().keySet());
      others.remove(mix.base());
      if (!others.isEmpty()) {
        merged.put(mix.base(), List.copyOf(others));
      }
      used.addAll(others);
    }
    return new KeptLayers(
        kept,
        merged,
        IntStream.range(0, plan.source().layers())
            .filter(layer -> !used.contains(layer))
            .boxed()
            .toList());
  }

  /** For people: {@code kept 0-1 5-6 8-15, merged 2-4 into 1, removed 7}. */
  public String describe() {
    List<String> parts = new ArrayList<>();
    parts.add("kept " + ranges(kept));
    for (Map.Entry<Integer, List<Integer>> mix : merged.entrySet()) {
      parts.add("merged " + ranges(mix.getValue()) + " into " + mix.getKey());
    }
    if (!removed.isEmpty()) {
      parts.add("removed " + ranges(removed));
    }
    return String.join(", ", parts);
  }

  /** Ascending numbers for people: {@code 0-12 15-29}. */
  public static String ranges(List<Integer> ascending) {
    StringBuilder text = new StringBuilder();
    for (int i = 0; i < ascending.size(); ) {
      int end = i;
      while (end + 1 < ascending.size() && ascending.get(end + 1) == ascending.get(end) + 1) {
        end++;
      }
      text.append(text.isEmpty() ? "" : " ").append(ascending.get(i));
      if (end > i) {
        text.append('-').append(ascending.get(end));
      }
      i = end + 1;
    }
    return text.toString();
  }
}
