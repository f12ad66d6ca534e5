package dev.laco.prune;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.laco.Fixtures;
import dev.laco.Model;
import dev.laco.collapse.Objective;
import dev.laco.fit.FitRule;
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
    ObjectNode settings = choice.settings();
    assertEquals("beam", settings.get("search").textValue());
    assertEquals(2, settings.get("beamWidth").intValue());
    assertEquals(2, settings.get("mergeLayers").intValue());
    assertEquals("auto", settings.get("rule").textValue());
    assertTrue(settings.get("threshold").isNull());
  }

  @Test
  void aThresholdIsThePapersLoop() {
    SearchChoice choice = SearchChoice.of(PruneRequest.of(Goal.threshold(0.65)), model);
    assertTrue(choice.isOneLoop());
    assertNull(choice.fit());
    assertEquals(Objective.COSINE, choice.objective());
    assertEquals(12, choice.depthSought(model));
    ObjectNode settings = choice.settings();
    assertEquals("laco", settings.get("search").textValue());
    assertEquals("replace", settings.get("rule").textValue());
    assertEquals("base", settings.get("norms").textValue());
    assertEquals(4, settings.get("mergeLayers").intValue());
    assertEquals(2, settings.get("interval").intValue());
    assertEquals(1, settings.get("lowest").intValue());
    assertEquals(12, settings.get("highest").intValue());
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
    assertEquals("align", choice.settings().get("rule").textValue());
  }
}
