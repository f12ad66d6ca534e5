package dev.laco.prune;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.Fixtures;
import dev.laco.Model;
import dev.laco.UsageException;
import dev.laco.collapse.BlockSettings;
import dev.laco.collapse.FitRule;
import dev.laco.collapse.NormsPolicy;
import dev.laco.collapse.Objective;
import dev.laco.report.PruneSettings;
import java.nio.file.Path;
import java.util.List;
import java.util.Set;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

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
        new PruneSettings.BestMerges(2, 2, 1, 1, 12, null, 9, null, Objective.NLL),
        choice.settings());
  }

  /** Where there is text for a fit, layers are chosen by what the fit can make up for. */
  @Test
  void aModelThatCanBeFittedIsSearchedInClosedForm() {
    try (Model storyteller = Model.open(Fixtures.STORYTELLER)) {
      assertEquals(
          new PruneSettings.Blocks(new BlockSettings(1, 16, 1, 4), 12),
          SearchChoice.of(PruneRequest.of(Goal.QUARTER), storyteller).settings());
      for (String rule : List.of("fit", "align", "auto")) {
        SearchChoice choice =
            SearchChoice.of(PruneRequest.of(Goal.QUARTER).withRule(rule), storyteller);
        assertTrue(choice.settings() instanceof PruneSettings.Blocks, rule);
        assertEquals(3, choice.mostContenders());
      }
      for (String rule : List.of("drop", "compensate")) {
        SearchChoice choice =
            SearchChoice.of(PruneRequest.of(Goal.QUARTER).withRule(rule), storyteller);
        assertTrue(choice.settings() instanceof PruneSettings.BestMerges, rule);
      }
      SearchSettings byDivergence =
          new SearchSettings(null, null, Objective.KL, null, null, null, null, null, null, null);
      assertTrue(
          SearchChoice.of(PruneRequest.of(Goal.QUARTER).withSearch(byDivergence), storyteller)
                  .settings()
              instanceof PruneSettings.BestMerges);
    }
  }

  /** Programs that generate text need layers of both kinds; the first layer always stays. */
  @Test
  void oneLayerOfTheOtherKindStays(@TempDir Path folder) {
    Path tokens = Fixtures.tokens(folder, "lfm2", "calib");
    PruneRequest request = PruneRequest.of(Goal.layers(3)).withFit(new FitSettings(tokens, null));
    try (Model convolutions = Model.open(Fixtures.model("lfm2"))) {
      assertEquals(
          new PruneSettings.Blocks(new BlockSettings(1, 8, 1, 5, Set.of(2, 4, 7)), 3),
          SearchChoice.of(request, convolutions).settings());
    }
  }

  @Test
  void aSearchInClosedFormNeedsAFitAndItsText() {
    SearchSettings blocks = SearchSettings.of(SearchSettings.Strategy.BLOCKS);
    refused(
        PruneRequest.of(Goal.QUARTER).withSearch(blocks),
        "search blocks measures on the text of the fit, and the model has no tokenizer.json: give"
            + " fitText FILE.json with token ids, or use search greedy or beam with a target");
    refused(
        PruneRequest.of(Goal.QUARTER).withSearch(blocks).withRule("drop"),
        "search blocks chooses layers whose work others can be fitted to do: name a rule that fits"
            + " weights, or use search greedy or beam with a target");
    refused(
        PruneRequest.of(Goal.QUARTER)
            .withSearch(
                new SearchSettings(
                    SearchSettings.Strategy.BLOCKS,
                    "2m",
                    null,
                    null,
                    null,
                    null,
                    null,
                    null,
                    null,
                    null)),
        "searchBudget 2m is of searches that score candidates: leave it out, or use search greedy or"
            + " beam with a target");
    refused(
        PruneRequest.of(Goal.threshold(0.5)).withSearch(blocks),
        "search blocks looks for a size: give a target, not threshold");
  }

  private void refused(PruneRequest request, String message) {
    UsageException e = assertThrows(UsageException.class, () -> SearchChoice.of(request, model));
    assertEquals(message, e.getMessage());
  }

  private static SearchSettings aligned(SearchSettings.@Nullable Strategy strategy, int align) {
    return new SearchSettings(strategy, null, null, null, null, align, null, null, null, null);
  }

  @Test
  void alignedSpansAreAsLongAsTheirPeriod() {
    PruneRequest request =
        PruneRequest.of(Goal.layers(6)).withSearch(aligned(SearchSettings.Strategy.GREEDY, 3));
    assertEquals(
        new PruneSettings.BestMerges(1, 4, 3, 1, 12, null, 6, null, Objective.NLL),
        SearchChoice.of(request, model).settings());
    SearchChoice aligned = SearchChoice.of(request.withRule("fit"), model);
    assertNull(aligned.neighbours());
    // Three models of the search, and those of two other methods.
    assertEquals(5, aligned.mostContenders());
  }

  @Test
  void aSizeThatNoAlignedRemovalLeadsToIsRefusedWithTheNextOnes() {
    refused(Goal.layers(7), "align 3 does not lead from 12 layers to 7: ask for 9 or 6 layers");
    refused(Goal.layers(2), "align 3 does not lead from 12 layers to 2: ask for 3 layers");
    refused(
        Goal.threshold(0.5),
        "align 3 is of greedy and beam search, not the paper's loop: use search greedy or beam with"
            + " a target");
  }

  private void refused(Goal goal, String message) {
    refused(PruneRequest.of(goal).withSearch(aligned(null, 3)), message);
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

  @ParameterizedTest
  @CsvSource({
    "olmo2, norms follow its down projections",
    "gemma2_std, norms follow its down projections",
    "gemma3_std, norms follow its down projections",
    "mixtral, its layers have mixtures of experts",
    "gpt_oss, its layers have mixtures of experts"
  })
  void modelsForWhichNothingIsSolvedAreMergedOrReconstructed(String name, String why) {
    try (Model normed = Model.open(Fixtures.model(name))) {
      PruneRequest reconstructed = PruneRequest.of(Goal.QUARTER).withRule("reconstruct");
      assertEquals(FitRule.RECONSTRUCT, SearchChoice.of(reconstructed, normed).fit());
      SearchChoice byDefault = SearchChoice.of(PruneRequest.of(Goal.QUARTER), normed);
      assertEquals("auto", byDefault.rule());
      assertEquals(FitRule.RECONSTRUCT, byDefault.fit());
      assertNull(FitRule.quick(normed.config()));
      for (String rule : List.of("drop", "replace", "rdsc", "mean")) {
        PruneRequest request = PruneRequest.of(Goal.QUARTER).withRule(rule);
        assertEquals(rule, SearchChoice.of(request, normed).rule());
      }
      for (FitRule rule :
          FitRule.presets().stream().filter(one -> !one.equals(FitRule.RECONSTRUCT)).toList()) {
        for (Goal goal : List.of(Goal.QUARTER, Goal.threshold(0.5))) {
          PruneRequest request = PruneRequest.of(goal).withRule(rule.label());
          UsageException e =
              assertThrows(UsageException.class, () -> SearchChoice.of(request, normed));
          String start =
              "rule "
                  + rule.label()
                  + " does not hold for this "
                  + normed.config().architecture().className()
                  + ": "
                  + why;
          assertTrue(e.getMessage().startsWith(start), e::getMessage);
          assertTrue(e.getMessage().endsWith("leave rule out"), e::getMessage);
        }
      }
    }
  }

  @Test
  void layersOfTwoKindsAreRemovedAndNotMerged() {
    try (Model mixture = Model.open(Fixtures.model("qwen3_moe"))) {
      SearchChoice choice = SearchChoice.of(PruneRequest.of(Goal.QUARTER), mixture);
      assertEquals(FitRule.RECONSTRUCT, choice.fit());
      assertEquals("auto", choice.rule());
      PruneRequest drop = PruneRequest.of(Goal.threshold(0.5)).withRule("drop");
      assertEquals("drop", SearchChoice.of(drop, mixture).rule());
      for (String rule : List.of("replace", "rdsc", "mean")) {
        assertRefused(rule, ": some of its layers have mixtures of experts and others", mixture);
      }
    }
  }

  private static void assertRefused(String rule, String why, Model of) {
    for (Goal goal : List.of(Goal.QUARTER, Goal.threshold(0.5))) {
      UsageException e =
          assertThrows(
              UsageException.class,
              () -> SearchChoice.of(PruneRequest.of(goal).withRule(rule), of));
      assertTrue(e.getMessage().startsWith("rule " + rule), e::getMessage);
      assertTrue(e.getMessage().contains(why), e::getMessage);
    }
  }
}
