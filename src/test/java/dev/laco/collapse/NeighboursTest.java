package dev.laco.collapse;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;

import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import org.junit.jupiter.api.Test;

/** Which models lie beside one that lacks layers. */
class NeighboursTest {
  private static final CollapsePlan.Source SOURCE =
      new CollapsePlan.Source("LlamaForCausalLM", 10, "sha256:0");

  private static CollapsePlan without(Integer... removed) {
    List<LayerMix> kept = new ArrayList<>();
    for (int layer = 0; layer < SOURCE.layers(); layer++) {
      if (!List.of(removed).contains(layer)) {
        kept.add(LayerMix.original(layer));
      }
    }
    return new CollapsePlan(SOURCE, kept);
  }

  @Test
  void aLayerAloneFirstJoinsTheOthers() {
    assertEquals(
        List.of(without(2, 3, 4), without(3, 4, 5)), Neighbours.of(without(3, 4, 7)).subList(0, 2));
  }

  @Test
  void everyNeighbourLacksAsManyLayersAndKeepsTheFirstAndTheLast() {
    CollapsePlan plan = without(1, 2, 5, 8);
    List<CollapsePlan> neighbours = Neighbours.of(plan);
    assertEquals(neighbours.size(), new HashSet<>(neighbours).size());
    assertFalse(neighbours.contains(plan));
    for (CollapsePlan neighbour : neighbours) {
      assertEquals(plan.depth(), neighbour.depth());
      assertEquals(0, neighbour.layers().getFirst().base());
      assertEquals(9, neighbour.layers().getLast().base());
    }
  }

  @Test
  void aSingleRunMovesByOne() {
    assertEquals(List.of(without(5, 6), without(3, 4)), Neighbours.of(without(4, 5)));
  }
}
