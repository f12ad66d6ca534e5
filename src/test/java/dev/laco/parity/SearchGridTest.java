package dev.laco.parity;

import static org.junit.jupiter.api.Assertions.assertEquals;

import com.fasterxml.jackson.databind.JsonNode;
import dev.laco.Compute;
import dev.laco.Fixtures;
import dev.laco.apply.PlanApplier;
import dev.laco.backend.Backend;
import dev.laco.backend.cpu.CpuBackend;
import dev.laco.checkpoint.Checkpoint;
import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.CollapseSettings;
import dev.laco.collapse.LayerCollapse;
import dev.laco.collapse.MergeRule;
import dev.laco.collapse.NormsPolicy;
import dev.laco.collapse.SearchResult;
import dev.laco.collapse.Trial;
import dev.laco.model.PackedSequences;
import dev.laco.scoring.SweepOptions;
import dev.laco.scoring.SweepScorer;
import dev.laco.transformer.RunningModel;
import java.util.List;
import java.util.Locale;
import org.junit.jupiter.api.Test;

/** The loop under many settings, against stored runs of an independent implementation. */
class SearchGridTest {
  private static final String FIXTURE = "llama24_search";
  private static final double SIMILARITY = 1e-4;
  private static final int SETTINGS = 29;

  @Test
  void everySettingTakesTheStoredTrials() {
    JsonNode grid = Fixtures.json(FIXTURE, "grid.json");
    assertEquals(SETTINGS, grid.size());
    try (Checkpoint checkpoint = Checkpoint.open(Fixtures.model(FIXTURE));
        Backend backend = CpuBackend.open(Compute.F32, 0)) {
      CollapsePlan.Source source = PlanApplier.source(checkpoint);
      try (SweepScorer scorer =
          new SweepScorer(
              new RunningModel(backend, checkpoint.config(), checkpoint),
              source,
              PackedSequences.of(Fixtures.tokens(FIXTURE, "calib")),
              SweepOptions.of(1))) {
        for (JsonNode run : grid) {
          SearchResult result =
              new LayerCollapse(settings(run), source, scorer)
                  .run(run.get("threshold").doubleValue(), (trial, share) -> {});
          assertEquals(run.get("layersOut").intValue(), result.plan().depth(), run::toString);
          assertTrialsMatch(run, result.trials());
        }
      }
    }
  }

  /** Stored as {@code [base, merged, layersBefore, mean, accepted]}. */
  private static void assertTrialsMatch(JsonNode run, List<Trial> trials) {
    JsonNode stored = run.get("trials");
    assertEquals(stored.size(), trials.size(), run::toString);
    for (int i = 0; i < trials.size(); i++) {
      JsonNode want = stored.get(i);
      Trial trial = trials.get(i);
      String where = "trial " + i + " of " + run;
      assertEquals(want.get(0).intValue(), trial.base(), where);
      assertEquals(want.get(1).intValue(), trial.merged(), where);
      assertEquals(want.get(2).intValue(), trial.layersBefore(), where);
      assertEquals(want.get(3).doubleValue(), trial.score().mean(), SIMILARITY, where);
      assertEquals(want.get(4).booleanValue(), trial.accepted(), where);
    }
  }

  private static CollapseSettings settings(JsonNode run) {
    return new CollapseSettings(
        run.get("mergeLayers").intValue(),
        run.get("interval").intValue(),
        run.get("lowest").intValue(),
        run.get("highest").intValue(),
        MergeRule.parse(run.get("rule").textValue()),
        NormsPolicy.valueOf(run.get("norms").textValue().toUpperCase(Locale.ROOT)));
  }
}
