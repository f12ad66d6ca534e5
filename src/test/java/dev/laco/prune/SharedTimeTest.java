package dev.laco.prune;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.Compute;
import dev.laco.Fixtures;
import dev.laco.JobProgress;
import dev.laco.Model;
import dev.laco.backend.Backend;
import dev.laco.backend.reference.ReferenceBackend;
import dev.laco.collapse.SearchBudget;
import dev.laco.fit.FittedChoice;
import dev.laco.heal.HealStage;
import dev.laco.run.MemoryPlan;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.atomic.AtomicLong;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The longer a prune may take, the more is fitted, and a third of the time is left to train. */
final class SharedTimeTest {
  @Test
  void theLargestFitIsTakenThatLeavesAThirdOfTheTime() {
    List<String> rules =
        List.of("drop", "compensate", "map", "fit", "select", "align", "repair", "refine");
    try (Model model = Model.open(Fixtures.STORYTELLER);
        Backend backend = new ReferenceBackend(Compute.F32)) {
      PruneRequest asked = PruneRequest.of(Goal.layers(12)).withWithin(1.0);
      SearchChoice search = SearchChoice.of(asked, model);
      PruneTexts texts = PruneTexts.read(asked, search, model, 0);
      List<Integer> taken = new ArrayList<>();
      for (double seconds = 1; seconds < 1e7; seconds *= 3) {
        SharedTime time = new SharedTime(seconds, model, backend, texts, false, true);
        PruneRequest shared = time.withRule(asked, request -> SearchChoice.of(request, model));
        taken.add(rules.indexOf(shared.rule()));
        String budget = time.bounded(asked, search).search().budget();
        assertTrue(
            budget == null || SearchBudget.parse(budget).seconds() <= Math.max(1, seconds / 4));
      }
      assertEquals(taken.stream().sorted().toList(), taken);
      assertEquals(0, taken.getFirst());
      assertEquals(rules.size() - 1, taken.getLast());
      SharedTime brief = new SharedTime(1, model, backend, texts, false, true);
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

  @Test
  void whereTheTimeAllowsMoreThanTheUsualTokensAreFittedTo(@TempDir Path folder)
      throws IOException {
    // Twice as many tokens as are usual for the model.
    String stories = Files.readString(Fixtures.STORYTELLER.resolve("fit.txt"));
    Path text =
        Files.writeString(
            folder.resolve("text.txt"), String.join("\n---\n", Collections.nCopies(4, stories)));
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
      MemoryPlan.Beside memory = MemoryPlan.Beside.buffers(1_000_000_000);
      List<Integer> taken = new ArrayList<>();
      for (double seconds = 1e3; seconds < 1e6; seconds *= 1.25) {
        SharedTime time = new SharedTime(seconds, model, backend, texts, false, true);
        int tokens = time.wholeFit(at(1), search, memory).tokens();
        taken.add(tokens);
        // Where the search took twice as long as expected, the fit will, too.
        assertTrue(time.wholeFit(at(2), search, memory).tokens() <= tokens);
      }
      assertEquals(taken.stream().sorted().toList(), taken);
      assertEquals(usual, taken.getFirst());
      assertEquals(all, taken.getLast());
      assertTrue(taken.stream().distinct().count() > 2, taken::toString);
      SharedTime time = new SharedTime(1e9, model, backend, texts, false, true);
      assertEquals(all, time.wholeFit(at(1), search, memory).tokens());
      assertEquals(
          usual, time.wholeFit(at(1), search, MemoryPlan.Beside.buffers(1_000_000)).tokens());
      // A rule that trains no layers gains little by more.
      SearchChoice align = SearchChoice.of(asked.withRule("align"), model);
      assertEquals(usual, time.wholeFit(at(1), align, memory).tokens());
      // Tokens that were asked for are taken.
      PruneRequest given = asked.withFit(new FitSettings(text, 4096));
      assertEquals(4096, PruneTexts.read(given, search, model, 0).fitSource().tokens());
    }
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
