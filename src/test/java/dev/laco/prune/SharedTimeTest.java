package dev.laco.prune;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.Compute;
import dev.laco.Fixtures;
import dev.laco.Model;
import dev.laco.backend.Backend;
import dev.laco.backend.reference.ReferenceBackend;
import dev.laco.collapse.SearchBudget;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;

/** The longer a prune may take, the more is fitted, and half of the time is left to train. */
final class SharedTimeTest {
  @Test
  void theLargestFitIsTakenThatLeavesHalfOfTheTime() {
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
}
