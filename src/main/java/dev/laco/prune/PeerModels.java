package dev.laco.prune;

import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.KeptLayers;
import dev.laco.collapse.peers.LayerRemoval;
import dev.laco.scoring.StreamSimilarity;
import java.util.List;
import java.util.stream.IntStream;
import java.util.stream.Stream;

/**
 * Models that other people's methods choose after one pass of the original: by Block Influence
 * (ShortGPT, arXiv 2403.03853) and by angle (Gromov et al., arXiv 2403.17887). They may be the
 * result of a search that removes layers, beside the models that the search found.
 *
 * @param lowest no layer up to this one is removed
 * @param highest no layer from this one on is removed
 * @param align layers are removed in runs of a multiple of this number
 */
@SuppressWarnings("exports")
public record PeerModels(int lowest, int highest, int align) {
  /**
   * The models of a depth, those that the limits allow; equal ones once.
   *
   * @param stream the residual stream of the original
   */
  public List<CollapsePlan> of(CollapsePlan.Source source, StreamSimilarity stream, int depth) {
    return of(
        source, stream.blockInfluence(), stream.angularDistances(source.layers() - depth), depth);
  }

  List<CollapsePlan> of(
      CollapsePlan.Source source, double[] influence, double[] distances, int depth) {
    return Stream.of(
            LayerRemoval.leastInfluence(source, influence, depth),
            LayerRemoval.closestBlock(source, distances, depth))
        .filter(this::allows)
        .distinct()
        .toList();
  }

  private boolean allows(CollapsePlan plan) {
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
