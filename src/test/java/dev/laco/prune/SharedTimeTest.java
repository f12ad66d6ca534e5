package dev.laco.prune;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.Compute;
import dev.laco.Fixtures;
import dev.laco.JobProgress;
import dev.laco.Model;
import dev.laco.apply.PlanApplier;
import dev.laco.backend.Backend;
import dev.laco.backend.reference.ReferenceBackend;
import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.MergeRule;
import dev.laco.collapse.NormsPolicy;
import dev.laco.collapse.SearchBudget;
import dev.laco.fit.FittedChoice;
import dev.laco.heal.HealStage;
import dev.laco.run.MemoryPlan;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicLong;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The longer a prune may take, the more is fitted, and a share of the time is left to train. */
final class SharedTimeTest {
  @Test
  void theLargestFitIsTakenThatLeavesTimeToTrain() {
    List<String> rules =
        List.of("drop", "compensate", "map", "fit", "select", "align", "repair", "refine");
    try (Model model = Model.open(Fixtures.STORYTELLER);
        Backend backend = new ReferenceBackend(Compute.F32)) {
      PruneRequest asked = PruneRequest.of(Goal.layers(12)).withWithin(1.0);
      SearchChoice search = SearchChoice.of(asked, model);
      PruneTexts texts = PruneTexts.read(asked, search, model, 0);
      List<Integer> taken = new ArrayList<>();
      for (double seconds = 1; seconds < 1e7; seconds *= 2) {
        SharedTime time = within(seconds, asked, model, backend, texts);
        PruneRequest shared = time.withRule(asked, request -> SearchChoice.of(request, model));
        taken.add(rules.indexOf(shared.rule()));
        String budget = time.bounded(asked, search).search().budget();
        assertTrue(
            budget == null || SearchBudget.parse(budget).seconds() <= Math.max(1, seconds / 4));
      }
      assertEquals(taken.stream().sorted().toList(), taken);
      assertEquals(0, taken.getFirst());
      assertEquals(rules.size() - 1, taken.getLast());
      // A training is worth more than solutions for all layers behind a gap.
      assertTrue(taken.contains(rules.indexOf("align")), taken::toString);
      assertFalse(taken.contains(rules.indexOf("repair")), taken::toString);
      SharedTime brief = within(1, asked, model, backend, texts);
      PruneRequest byTrials = asked.withRule("drop");
      SearchChoice trials = SearchChoice.of(byTrials, model);
      assertNotNull(brief.bounded(byTrials, trials).search().budget());
      // A search in closed form is short, and has no bound.
      assertSame(asked, brief.bounded(asked, search));
      // A rule that was asked for is taken, however long it takes.
      PruneRequest given = asked.withRule("refine");
      assertSame(given, brief.withRule(given, request -> SearchChoice.of(request, model)));
    }
  }

  /** It has no use for a rule that only scales weights, or fits none. */
  @Test
  void inAShortTimeASearchInClosedFormHasTheQuickestRuleThatItCanUse() {
    try (Model model = Model.open(Fixtures.STORYTELLER);
        Backend backend = new ReferenceBackend(Compute.F32)) {
      PruneRequest asked =
          PruneRequest.of(Goal.layers(12))
              .withSearch(SearchSettings.of(SearchSettings.Strategy.BLOCKS))
              .withWithin(1.0);
      PruneTexts texts = PruneTexts.read(asked, SearchChoice.of(asked, model), model, 0);
      for (double seconds = 1; seconds < 1e4; seconds *= 2) {
        PruneRequest shared =
            within(seconds, asked, model, backend, texts)
                .withRule(asked, request -> SearchChoice.of(request, model));
        assertNotNull(SearchChoice.of(shared, model).blocks(), shared.rule());
        if (seconds == 1) {
          assertEquals("map", shared.rule());
        }
      }
    }
  }

  @Test
  void theTimeDecidesOnHowManyTokensAModelIsFitted(@TempDir Path folder) {
    // Twice as many tokens as are usual for the model, beside those that the training holds out.
    Path text = Fixtures.randomTokens(folder.resolve("text.json"), 0, 560, 200);
    try (Model model = Model.open(Fixtures.STORYTELLER);
        Backend backend = new ReferenceBackend(Compute.F32)) {
      PruneRequest asked =
          PruneRequest.of(Goal.layers(12))
              .withWithin(1.0)
              .withRule("refine")
              .withFit(new FitSettings(text, null));
      SearchChoice search = SearchChoice.of(asked, model);
      PruneTexts texts = PruneTexts.read(asked, search, model, 0);
      int usual = texts.wholeFit().tokens();
      int all = texts.fitSource().tokens();
      assertTrue(all > 3 * usual / 2, usual + " of " + all + " tokens");
      CollapsePlan late = withoutFourBehind(10, model);
      CollapsePlan early = withoutFourBehind(1, model);
      MemoryPlan.Beside memory = MemoryPlan.Beside.buffers(1_000_000_000);
      List<Integer> taken = new ArrayList<>();
      List<Integer> expected = new ArrayList<>();
      for (double seconds = 100; seconds < 1e6; seconds *= 1.1) {
        SharedTime time = within(seconds, asked, model, backend, texts);
        int tokens = time.wholeFit(at(1), search, memory).text(late).layers().tokens();
        taken.add(tokens);
        expected.add(time.expectedTokens(search));
        // Where the search took twice as long as expected, the fit will, too.
        assertTrue(time.wholeFit(at(2), search, memory).text(late).layers().tokens() <= tokens);
        // There are more layers behind an early gap.
        assertTrue(time.wholeFit(at(1), search, memory).text(early).layers().tokens() <= tokens);
      }
      for (List<Integer> rising : List.of(taken, expected)) {
        assertEquals(rising.stream().sorted().toList(), rising);
        assertTrue(
            rising.getFirst() <= usual / 2 && rising.getFirst() > usual / 3, rising::toString);
        assertEquals(all, rising.getLast());
        assertTrue(rising.stream().distinct().count() > 4, rising::toString);
      }
      SharedTime ample = within(1e7, asked, model, backend, texts);
      FittedChoice.Whole more = ample.wholeFit(at(1), search, memory);
      assertEquals(all, more.text(late).layers().tokens());
      // Behind a fit on more tokens than usual, half of the time is left.
      assertTrue(more.fitsMore(4.9e6));
      assertFalse(more.fitsMore(5.1e6));
      int small =
          ample
              .wholeFit(at(1), search, MemoryPlan.Beside.buffers(1_000_000))
              .text(late)
              .layers()
              .tokens();
      assertTrue(small <= usual && small > usual / 2, small + " of " + usual);
      // A rule that trains no layers gains little by more than the usual tokens.
      SearchChoice align = SearchChoice.of(asked.withRule("align"), model);
      SharedTime least = within(1, asked, model, backend, texts);
      assertTrue(least.wholeFit(at(1), align, memory).text(late).layers().tokens() <= usual / 8);
      assertEquals(usual, ample.wholeFit(at(1), align, memory).text(late).layers().tokens());
      // A short text is fitted to as a whole: a part of it might hold nothing out.
      Path little = Fixtures.randomTokens(folder.resolve("little.json"), 0, 12, 200);
      PruneTexts some =
          PruneTexts.read(asked.withFit(new FitSettings(little, null)), search, model, 0);
      assertTrue(some.wholeFit().tokens() < 4096);
      assertEquals(
          some.wholeFit().tokens(),
          within(1, asked, model, backend, some)
              .wholeFit(at(1), search, memory)
              .text(late)
              .layers()
              .tokens());
      // Tokens that were asked for are taken.
      PruneRequest given = asked.withFit(new FitSettings(text, 4096));
      PruneTexts few = PruneTexts.read(given, search, model, 0);
      SharedTime brief = within(1, given, model, backend, few);
      assertEquals(4096, brief.wholeFit(at(1), search, memory).text(late).layers().tokens());
      assertEquals(4096, brief.expectedTokens(search));
    }
  }

  @Test
  void aFitEndsBeforeALayerThatWouldNotLeaveTimeToTrain() {
    try (Model model = Model.open(Fixtures.STORYTELLER);
        Backend backend = new ReferenceBackend(Compute.F32)) {
      PruneRequest asked = PruneRequest.of(Goal.layers(12)).withRule("refine");
      SearchChoice search = SearchChoice.of(asked, model);
      PruneTexts texts = PruneTexts.read(asked, search, model, 0);
      MemoryPlan.Beside memory = MemoryPlan.Beside.buffers(1_000_000_000);
      // Ten seconds are over, and nothing is left but the fit and the training.
      FittedChoice.Whole fit =
          within(90, asked, model, backend, texts).wholeFit(at(1), search, memory);
      assertTrue(fit.fitsMore(49));
      assertFalse(fit.fitsMore(51));
      SharedTime endless = new SharedTime(asked, model, backend, texts, true);
      assertTrue(endless.wholeFit(at(1), search, memory).fitsMore(1e9));
    }
  }

  private static SharedTime within(
      double seconds, PruneRequest asked, Model model, Backend backend, PruneTexts texts) {
    return new SharedTime(asked.withWithin(seconds), model, backend, texts, true);
  }

  private static CollapsePlan withoutFourBehind(int base, Model model) {
    return CollapsePlan.identity(PlanApplier.source(model.checkpoint()))
        .fold(base, 4, MergeRule.DROP, NormsPolicy.BASE);
  }

  /** A job whose search of 10 expected seconds is over, and took {@code pace} times as long. */
  private static JobProgress at(double pace) {
    AtomicLong clock = new AtomicLong();
    JobProgress job = new JobProgress(clock::get, JobProgress.StageListener.NONE);
    job.expect(PruneStages.SEARCH, 10);
    job.expect(FittedChoice.fitStage(""), 100);
    job.expect(HealStage.NAME, 100);
    try (JobProgress.Stage _ = job.begin(PruneStages.SEARCH)) {
      clock.set(Math.round(10e9 * pace));
    }
    return job;
  }
}
