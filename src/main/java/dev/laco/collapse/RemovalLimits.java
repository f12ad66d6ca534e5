package dev.laco.collapse;

import java.util.List;
import java.util.stream.IntStream;

/**
 * Which layers a model may lack.
 *
 * @param lowest no layer up to this one is removed
 * @param highest no layer from this one on is removed
 * @param align layers are removed in runs of a multiple of this number
 */
public record RemovalLimits(int lowest, int highest, int align) {
  /** Whether all layers that a model lacks lie within the limits. */
  public boolean allow(CollapsePlan plan) {
    List<Integer> removed = KeptLayers.of(plan).removed();
    return removed.stream().allMatch(layer -> layer > lowest && layer < highest)
        && runs(removed).allMatch(length -> length % align == 0);
  }

  /** Lengths of the runs of consecutive layers. */
  private static IntStream runs(List<Integer> layers) {
    int[] first =
        IntStream.range(0, layers.size())
            .filter(i -> i == 0 || layers.get(i - 1) != layers.get(i) - 1)
            .toArray();
    return IntStream.range(0, first.length)
        .map(i -> (i + 1 < first.length ? first[i + 1] : layers.size()) - first[i]);
  }
}
