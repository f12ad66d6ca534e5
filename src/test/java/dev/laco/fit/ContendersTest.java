package dev.laco.fit;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.FitRule;
import dev.laco.collapse.MergeRule;
import dev.laco.collapse.NormsPolicy;
import dev.laco.collapse.Score;
import dev.laco.collapse.SearchResult;
import dev.laco.collapse.SearchResult.Scored;
import java.util.List;
import java.util.TreeMap;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;

/** Which models of a search are fitted to choose among them. */
final class ContendersTest {
  private static final CollapsePlan ORIGINAL =
      CollapsePlan.identity(new CollapsePlan.Source("LlamaForCausalLM", 10, "sha256:0"));
  private static final CollapsePlan FIRST = twice(1, 5);
  private static final CollapsePlan SECOND = twice(2, 6);
  private static final CollapsePlan THIRD = twice(3, 7);
  private static final CollapsePlan BLOCK = ORIGINAL.fold(4, 2, MergeRule.DROP, NormsPolicy.BASE);

  /** Two layers in two places. */
  private static CollapsePlan twice(int low, int high) {
    return ORIGINAL
        .fold(high, 1, MergeRule.DROP, NormsPolicy.BASE)
        .fold(low, 1, MergeRule.DROP, NormsPolicy.BASE);
  }

  private static List<CollapsePlan> contenders(
      @Nullable CollapsePlan block, CollapsePlan... ranked) {
    return contenders(block, List.of(), ranked);
  }

  private static List<CollapsePlan> contenders(
      @Nullable CollapsePlan block, List<CollapsePlan> peers, CollapsePlan... ranked) {
    return FittedChoice.contenders(
        new SearchResult(
            null,
            Stream.of(ranked).map(ContendersTest::scored).toList(),
            block == null ? null : scored(block),
            peers,
            new TreeMap<>(),
            List.of(),
            List.of(),
            false));
  }

  private static Scored scored(CollapsePlan plan) {
    return new Scored(plan, Score.UNCHANGED);
  }

  @Test
  void theTwoBestAndTheBestRemovalInOnePiece() {
    assertEquals(List.of(FIRST, SECOND, BLOCK), contenders(BLOCK, FIRST, SECOND, THIRD));
  }

  @Test
  void aRemovalInOnePieceThatIsAmongTheBestLeavesItsPlace() {
    assertEquals(List.of(FIRST, BLOCK, SECOND), contenders(BLOCK, FIRST, BLOCK, SECOND, THIRD));
    assertEquals(List.of(BLOCK, FIRST, SECOND), contenders(BLOCK, BLOCK, FIRST, SECOND, THIRD));
  }

  @Test
  void modelsThatKeepTheSameLayersAreOne() {
    CollapsePlan replaced =
        ORIGINAL
            .fold(5, 1, MergeRule.MEAN, NormsPolicy.MERGE)
            .fold(1, 1, MergeRule.MEAN, NormsPolicy.MERGE);
    assertEquals(List.of(FIRST, SECOND, BLOCK), contenders(BLOCK, replaced, FIRST, SECOND, THIRD));
  }

  @Test
  void otherPeoplesModelsAreFittedBesideThem() {
    assertEquals(
        List.of(FIRST, SECOND, BLOCK, THIRD),
        contenders(BLOCK, List.of(THIRD, SECOND), FIRST, SECOND));
  }

  @Test
  void withoutARemovalInOnePieceTheBestOnes() {
    assertEquals(List.of(FIRST, SECOND, THIRD), contenders(null, FIRST, SECOND, THIRD, BLOCK));
    assertEquals(List.of(FIRST), contenders(null, FIRST));
  }

  /** A quick fit at gaps alone fits more of a model with more gaps than of one with fewer. */
  @Test
  void aModelWithMoreGapsMustPredictClearlyBetter() {
    double one = FittedChoice.counted(BLOCK, FitRule.REFINE, 4.516);
    assertTrue(one < FittedChoice.counted(FIRST, FitRule.REFINE, 4.506));
    assertTrue(one > FittedChoice.counted(FIRST, FitRule.REFINE, 4.49));
    for (FitRule whole : List.of(FitRule.ALIGN, FitRule.RECONSTRUCT)) {
      assertEquals(4.516, FittedChoice.counted(BLOCK, whole, 4.516));
      assertEquals(4.506, FittedChoice.counted(FIRST, whole, 4.506));
    }
  }
}
