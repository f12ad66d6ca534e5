package dev.laco.collapse.peers;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.UsageException;
import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.LayerMix;
import dev.laco.collapse.Score;
import dev.laco.collapse.Scorer;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.function.ToDoubleFunction;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Other people's ways, on models and scores made by hand. */
final class PeersTest {
  private static final CollapsePlan.Source SOURCE =
      new CollapsePlan.Source("LlamaForCausalLM", 8, "sha256:0");

  private static List<Integer> bases(CollapsePlan plan) {
    return plan.layers().stream().map(LayerMix::base).toList();
  }

  /** Similarity as a function of the plan; remembers what it was asked. */
  private record Similarity(ToDoubleFunction<CollapsePlan> of, List<CollapsePlan> asked)
      implements Scorer {
    @Override
    public List<Score> score(List<CollapsePlan> plans) {
      asked.addAll(plans);
      return plans.stream().map(plan -> new Score(List.of(of.applyAsDouble(plan)))).toList();
    }

    @Override
    public int sweeps() {
      return asked.size();
    }
  }

  @Test
  void theLastLayerOutlivesThoseBeforeIt() {
    assertEquals(List.of(0, 1, 2, 3, 7), bases(LayerRemoval.lastButOne(SOURCE, 5)));
    assertEquals(List.of(7), bases(LayerRemoval.lastButOne(SOURCE, 1)));
    assertTrue(LayerRemoval.lastButOne(SOURCE, 8).isIdentity());
  }

  @Test
  void theLayersOfLeastInfluenceGoAndAmongEqualsTheLower() {
    double[] influence = {.9, .1, .3, .2, .1, .3, .5, .8};
    assertEquals(List.of(0, 5, 6, 7), bases(LayerRemoval.leastInfluence(SOURCE, influence, 4)));
  }

  @Test
  void theBlockOfTheSmallestAngleGoes() {
    double[] distances = {.4, .3, .2, .1, .1, .3};
    assertEquals(List.of(0, 1, 2, 6, 7), bases(LayerRemoval.closestBlock(SOURCE, distances, 5)));
  }

  @Test
  void aWindowGrowsDownwardsWhileTheModelStaysSimilarThenTheNextOpens() {
    // Similar until a window reaches below layer 4; so two windows: 4-6, then below.
    Similarity scorer =
        new Similarity(
            plan ->
                bases(plan).containsAll(List.of(2, 3, 4))
                    ? 0.9
                    : bases(plan).contains(4) ? 0.5 : 0.2,
            new ArrayList<>());
    CollapsePlan plan = new SlidingWindow(SOURCE, scorer).reach(6);
    assertEquals(List.of(0, 1, 2, 3, 4, 7), bases(plan));
    assertTrue(plan.layers().get(4).attention().isCopyOf(6));
    assertTrue(plan.layers().get(4).norms().isCopyOf(4));
    // A second window, from 3 down, is all that is left.
    assertEquals(5, new SlidingWindow(SOURCE, scorer).reach(5).depth());
  }

  @ParameterizedTest
  @ValueSource(ints = {2, 3, 5, 7, 8})
  void aDepthIsReached(int target) {
    Similarity scorer =
        new Similarity(
            plan -> plan.depth() / 8.0 - plan.toJsonText().hashCode() % 100 / 1e4,
            new ArrayList<>());
    assertEquals(target, new SlidingWindow(SOURCE, scorer).reach(target).depth());
    assertEquals(new HashSet<>(scorer.asked()).size(), scorer.asked().size());
  }

  @Test
  void theLastLayerIsNeverInAWindow() {
    Similarity scorer = new Similarity(plan -> 0.5, new ArrayList<>());
    assertThrows(UsageException.class, () -> new SlidingWindow(SOURCE, scorer).reach(1));
  }
}
