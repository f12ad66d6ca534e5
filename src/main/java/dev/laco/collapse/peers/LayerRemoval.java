package dev.laco.collapse.peers;

import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.LayerMix;
import java.util.Comparator;
import java.util.List;
import java.util.Set;
import java.util.stream.Collectors;
import java.util.stream.IntStream;

/** Models that lack some layers of the original and are otherwise the same. */
public final class LayerRemoval {
  private LayerRemoval() {}

  /**
   * Removes the layers before the last one and keeps the last: the simple heuristic of Gromov et
   * al. (arXiv 2403.17887).
   */
  public static CollapsePlan lastButOne(CollapsePlan.Source source, int target) {
    int removed = source.layers() - target;
    int first = Math.max(0, source.layers() - 1 - removed);
    return without(source, block(first, removed));
  }

  /**
   * Without the layers of the lowest Block Influence (ShortGPT, arXiv 2403.03853); of equal ones
   * the lower goes first.
   *
   * @param influence one for each layer
   */
  public static CollapsePlan leastInfluence(
      CollapsePlan.Source source, double[] influence, int target) {
    return without(
        source,
        IntStream.range(0, source.layers())
            .boxed()
            .sorted(Comparator.comparingDouble(layer -> influence[layer]))
            .limit(source.layers() - target)
            .collect(Collectors.toSet()));
  }

  /**
   * Without the block of consecutive layers whose input and output differ least by angle (Gromov et
   * al., arXiv 2403.17887); of equal ones the lowest.
   *
   * @param distances of the block that begins at each layer; the block has as many layers as go
   */
  public static CollapsePlan closestBlock(
      CollapsePlan.Source source, double[] distances, int target) {
    int first =
        IntStream.range(0, distances.length)
            .boxed()
            .min(Comparator.comparingDouble(layer -> distances[layer]))
            .orElseThrow();
    return without(source, block(first, source.layers() - target));
  }

  private static Set<Integer> block(int first, int layers) {
    return IntStream.range(first, first + layers).boxed().collect(Collectors.toSet());
  }

  private static CollapsePlan without(CollapsePlan.Source source, Set<Integer> removed) {
    List<LayerMix> kept =
        IntStream.range(0, source.layers())
            .filter(layer -> !removed.contains(layer))
            .mapToObj(LayerMix::original)
            .toList();
    return new CollapsePlan(source, kept);
  }
}
