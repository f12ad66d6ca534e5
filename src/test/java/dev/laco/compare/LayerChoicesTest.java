package dev.laco.compare;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.Compute;
import dev.laco.Fixtures;
import dev.laco.Model;
import dev.laco.backend.Backend;
import dev.laco.backend.reference.ReferenceBackend;
import dev.laco.collapse.MergeRule;
import dev.laco.collapse.Objective;
import dev.laco.run.JobEstimate;
import org.junit.jupiter.api.Test;

/** How long it is expected to take until the layers of a strategy are found. */
final class LayerChoicesTest {
  private static final int TOKENS = 480;
  private static final int TARGET = 12;

  @Test
  void eachMethodIsExpectedToTakeTheTimeOfWhatItRuns() {
    try (Model model = Model.open(Fixtures.STORYTELLER);
        Backend backend = new ReferenceBackend(Compute.F32)) {
      JobEstimate estimate = new JobEstimate(model, backend);
      double pass = estimate.layers(TOKENS, 16);
      assertEquals(0, seconds(model, estimate, Strategy.Peer.LAST));
      assertEquals(pass, seconds(model, estimate, Strategy.Peer.SHORTGPT));
      assertEquals(pass, seconds(model, estimate, Strategy.Peer.ANGULAR));
      // SLEB scores the models without each of 15 layers, then of 14, 13 and 12.
      double sleb = seconds(model, estimate, Strategy.Peer.SLEB);
      assertEquals(estimate.search(54, TARGET, Objective.NLL, TOKENS), sleb, 1e-9 * sleb);
      double loop = seconds(model, estimate, new Strategy.PaperLoop(MergeRule.REPLACE));
      double windows = seconds(model, estimate, Strategy.Peer.SLIDING_WINDOW);
      double beam = seconds(model, estimate, new Strategy.Search());
      assertTrue(pass < loop && loop < beam, pass + " " + loop + " " + beam);
      assertTrue(pass < windows && windows < beam, pass + " " + windows + " " + beam);
    }
  }

  private static double seconds(Model model, JobEstimate estimate, Strategy.Layers layers) {
    return LayerChoices.seconds(estimate, model.config(), layers, TARGET, false, TOKENS, null);
  }
}
