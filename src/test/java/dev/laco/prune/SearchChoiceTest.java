package dev.laco.prune;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.Fixtures;
import dev.laco.Model;
import dev.laco.collapse.FitRule;
import dev.laco.collapse.NormsPolicy;
import dev.laco.collapse.Objective;
import dev.laco.report.PruneSettings;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

/** What a request that leaves things open asks of a model of twelve layers. */
final class SearchChoiceTest {
  private final Model model = Model.open(Fixtures.model("llama_tied_rope3"));

  @AfterEach
  void close() {
    model.close();
  }

  @Test
  void aSizeIsSearchedForByABeamAndThenFitted() {
    SearchChoice choice = SearchChoice.of(PruneRequest.of(Goal.QUARTER), model);
    assertEquals(9, choice.target());
    assertEquals(FitRule.REFINE, choice.fit());
    assertEquals(Objective.NLL, choice.objective());
    assertFalse(choice.isOneLoop());
    // Removals and replacements of one layer each use one original.
    assertEquals(1, choice.mergedAtOnce());
    assertEquals("auto", choice.rule());
    assertEquals(
        new PruneSettings.BestMerges(2, 2, 1, 12, null, 9, null, Objective.NLL), choice.settings());
  }

  @Test
  void aThresholdIsThePapersLoop() {
    SearchChoice choice = SearchChoice.of(PruneRequest.of(Goal.threshold(0.65)), model);
    assertTrue(choice.isOneLoop());
    assertNull(choice.fit());
    assertEquals(Objective.COSINE, choice.objective());
    assertEquals(12, choice.depthSought(model));
    assertEquals("replace", choice.rule());
    assertEquals(
        new PruneSettings.PaperLoop(4, 2, 1, 12, NormsPolicy.BASE, null, null), choice.settings());
  }

  @Test
  void aRuleThatMixesNeedsAllLayersOfASpanAtOnce() {
    PruneRequest request = PruneRequest.of(Goal.threshold(0.65)).withRule("rdsc:0.5");
    assertEquals(4, SearchChoice.of(request, model).mergedAtOnce());
  }

  @Test
  void aRuleThatFitsRemovesLayersFirst() {
    SearchChoice choice = SearchChoice.of(PruneRequest.of(Goal.layers(8)).withRule("align"), model);
    assertEquals(FitRule.ALIGN, choice.fit());
    assertEquals("align", choice.rule());
  }
}
