package dev.laco.prune;

import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.RemovalLimits;
import dev.laco.collapse.peers.LayerRemoval;
import dev.laco.scoring.StreamSimilarity;
import java.util.List;
import java.util.stream.Stream;

/**
 * Models that other people's methods choose after one pass of the original: by Block Influence
 * (ShortGPT, arXiv 2403.03853) and by angle (Gromov et al., arXiv 2403.17887). They may be the
 * result of a search that removes layers, beside the models that the search found.
 *
 * @param limits the layers that they may lack
 */
@SuppressWarnings("exports")
public record PeerModels(RemovalLimits limits) {
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
        .filter(limits::allow)
        .distinct()
        .toList();
  }
}
