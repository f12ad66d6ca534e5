package dev.laco.collapse;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;

/** What people read of a plan: the original's layers that were kept, merged and removed. */
class KeptLayersTest {
  private static final CollapsePlan ORIGINAL =
      CollapsePlan.identity(new CollapsePlan.Source("LlamaForCausalLM", 16, "sha256:0"));

  private static CollapsePlan fold(CollapsePlan plan, int base, int followers, String rule) {
    return plan.fold(base, followers, MergeRule.parse(rule), NormsPolicy.BASE);
  }

  @Test
  void numbersAreTheOriginals() {
    KeptLayers layers = KeptLayers.of(fold(fold(ORIGINAL, 6, 1, "drop"), 1, 3, "drop"));
    assertEquals("kept 0-1 5-6 8-15, removed 2-4 7", layers.describe());
    assertEquals(List.of(2, 3, 4, 7), layers.removed());
    assertEquals(Map.of(), layers.merged());
  }

  @Test
  void aLayerThatIsMixedIntoAnotherIsMergedNotRemoved() {
    KeptLayers layers = KeptLayers.of(fold(fold(ORIGINAL, 6, 1, "drop"), 1, 3, "rdsc"));
    assertEquals("kept 0-1 5-6 8-15, merged 2-4 into 1, removed 7", layers.describe());
    assertEquals(List.of(7), layers.removed());
  }

  @Test
  void ofReplacedLayersOnlyTheLastIsLeft() {
    assertEquals(
        "kept 0-1 5-15, merged 4 into 1, removed 2-3",
        KeptLayers.of(fold(ORIGINAL, 1, 3, "replace")).describe());
  }

  @Test
  void anUnchangedModelKeepsAll() {
    assertEquals("kept 0-15", KeptLayers.of(ORIGINAL).describe());
  }

  @Test
  void consecutiveNumbersAreRanges() {
    assertEquals("0-2 4 6-7", KeptLayers.ranges(List.of(0, 1, 2, 4, 6, 7)));
    assertEquals("3", KeptLayers.ranges(List.of(3)));
  }
}
