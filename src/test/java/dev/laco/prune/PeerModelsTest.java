package dev.laco.prune;

import static org.junit.jupiter.api.Assertions.assertEquals;

import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.KeptLayers;
import dev.laco.collapse.RemovalLimits;
import java.util.List;
import org.junit.jupiter.api.Test;

/** Which models of other people's methods may be the result of a search. */
final class PeerModelsTest {
  private static final CollapsePlan.Source SOURCE =
      new CollapsePlan.Source("LlamaForCausalLM", 6, "sha256:0");

  /** Layers 2 and 4 change their input least. */
  private static final double[] INFLUENCE = {0.9, 0.5, 0.1, 0.4, 0.2, 0.8};

  /** The two layers from layer 3 on change their input least. */
  private static final double[] DISTANCES = {0.5, 0.4, 0.3, 0.2, 0.6};

  private static PeerModels within(int lowest, int highest, int align) {
    return new PeerModels(new RemovalLimits(lowest, highest, align));
  }

  private static List<List<Integer>> removed(int lowest, int highest, int align) {
    return within(lowest, highest, align).of(SOURCE, INFLUENCE, DISTANCES, 4).stream()
        .map(plan -> KeptLayers.of(plan).removed())
        .toList();
  }

  @Test
  void thoseByBlockInfluenceAndByAngle() {
    assertEquals(List.of(List.of(2, 4), List.of(3, 4)), removed(0, 6, 1));
  }

  @Test
  void layersOutsideTheLimitsOfTheSearchStay() {
    assertEquals(List.of(List.of(3, 4)), removed(2, 6, 1));
    assertEquals(List.of(), removed(0, 4, 1));
    assertEquals(List.of(), removed(3, 6, 1));
  }

  @Test
  void layersGoInRunsOfTheSearch() {
    assertEquals(List.of(List.of(3, 4)), removed(0, 6, 2));
    assertEquals(List.of(), removed(0, 6, 3));
  }

  @Test
  void aModelThatBothMethodsChooseStandsOnce() {
    double[] influence = {0.9, 0.5, 0.3, 0.1, 0.2, 0.8};
    assertEquals(1, within(0, 6, 1).of(SOURCE, influence, DISTANCES, 4).size());
  }
}
