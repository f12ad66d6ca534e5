package dev.laco.prune;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.Compute;
import dev.laco.Fixtures;
import dev.laco.JobProgress;
import dev.laco.Model;
import dev.laco.backend.Backend;
import dev.laco.backend.reference.ReferenceBackend;
import dev.laco.run.JobEstimate;
import java.util.Optional;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** What is known of the stages of a prune before they begin. */
final class ExpectedStagesTest {
  /** What a job is expected to take in all, and what is said of a quicker one. */
  private record Expected(double seconds, Optional<PruneEvent.QuickerRule> quicker) {}

  /** The reference backend is so slow that the demo model takes long. */
  private static Expected by(String rule) {
    try (Model model = Model.open(Fixtures.STORYTELLER);
        Backend backend = new ReferenceBackend(Compute.F32)) {
      PruneRequest request = PruneRequest.of(Goal.layers(12)).withRule(rule);
      SearchChoice search = SearchChoice.of(request, model);
      PruneTexts texts = PruneTexts.read(request, search, model, 0);
      JobProgress progress = new JobProgress(JobProgress.StageListener.NONE);
      double fit =
          new JobEstimate(model, backend)
              .fit(search.fit(), texts.wholeFit().tokens(), 12, texts.heal() != null);
      ExpectedStages stages = new ExpectedStages(model, backend, search, texts);
      stages.expect(progress, true, true, fit, false);
      return new Expected(progress.expectedBeside(""), stages.quicker(progress, true));
    }
  }

  /** The paper's loop has a budget, too, where it looks for a size. */
  @ParameterizedTest
  @EnumSource(names = {"LACO", "GREEDY", "BEAM"})
  void aSearchEndsWithItsBudget(SearchSettings.Strategy strategy) {
    try (Model model = Model.open(Fixtures.STORYTELLER);
        Backend backend = new ReferenceBackend(Compute.F32)) {
      PruneRequest request =
          PruneRequest.of(Goal.layers(12))
              .withRule("drop")
              .withSearch(SearchSettings.of(strategy).withBudget("2s"));
      SearchChoice search = SearchChoice.of(request, model);
      PruneTexts texts = PruneTexts.read(request, search, model, 0);
      JobProgress progress = new JobProgress(JobProgress.StageListener.NONE);
      new ExpectedStages(model, backend, search, texts).expect(progress, true, true, 0, false);
      assertEquals(2, progress.expected().get(PruneStages.SEARCH));
    }
  }

  @Test
  void beforeALongFitAQuickerRuleIsNamed() {
    Expected refined = by("refine");
    Expected aligned = by("align");
    PruneEvent.QuickerRule quicker = refined.quicker().orElseThrow();
    assertEquals("align", quicker.rule());
    assertEquals(aligned.seconds(), quicker.seconds(), 1e-6 * aligned.seconds());
    // On two cores the demo model took 52 to 66 s by the one and some 35 s by the other.
    assertTrue(refined.seconds() > 1.2 * quicker.seconds(), refined::toString);
    assertEquals(Optional.empty(), aligned.quicker());
  }
}
