package dev.laco.parity;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

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
import dev.laco.collapse.Lookahead;
import dev.laco.collapse.MergeRule;
import dev.laco.collapse.NormsPolicy;
import dev.laco.collapse.SearchResult;
import dev.laco.collapse.Work;
import dev.laco.model.PackedSequences;
import dev.laco.scoring.SweepOptions;
import dev.laco.scoring.SweepScorer;
import dev.laco.transformer.RunningModel;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.stream.Stream;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Asking ahead takes the decisions that asking one by one takes, in fewer passes. */
final class LookaheadTest {
  static Stream<String> fixtures() {
    return Fixtures.withRun("official");
  }

  @ParameterizedTest
  @MethodSource("fixtures")
  void everyLookaheadTakesTheSameDecisions(String fixture) {
    for (Compute compute : Compute.values()) {
      JsonNode runs = Fixtures.json(fixture, "expected.json").get("runs");
      for (Map.Entry<String, JsonNode> stored : runs.properties()) {
        String run = stored.getKey();
        JsonNode expected = stored.getValue();
        Found one = search(fixture, compute, expected, Lookahead.NONE);
        for (Lookahead lookahead :
            List.of(Lookahead.fixed(2), Lookahead.fixed(5), Lookahead.ALL, Lookahead.upTo(8))) {
          Found many = search(fixture, compute, expected, lookahead);
          String where = compute + " " + run + " " + lookahead;
          assertEquals(one.result.plan(), many.result.plan(), where);
          assertEquals(decisions(one.result), decisions(many.result), where);
          assertEquals(one.work.floorOperations(), many.work.floorOperations(), where);
          assertTrue(many.work.operations() >= many.work.floorOperations(), where);
          if (lookahead.equals(Lookahead.ALL)) {
            long accepted = one.result.trials().stream().filter(t -> t.accepted()).count();
            assertTrue(many.work.passes() <= accepted + 2, where);
          }
        }
        assertEquals(one.work.floorOperations(), one.work.operations());
        assertEquals(one.result.trials().size() + 1, one.work.passes());
      }
    }
  }

  private record Found(SearchResult result, Work work) {}

  private static Found search(String fixture, Compute compute, JsonNode run, Lookahead lookahead) {
    try (Checkpoint checkpoint = Checkpoint.open(Fixtures.model(fixture));
        Backend backend = CpuBackend.open(compute, 2)) {
      CollapsePlan.Source source = PlanApplier.source(checkpoint);
      try (SweepScorer scorer =
          new SweepScorer(
              new RunningModel(backend, checkpoint.config(), checkpoint),
              source,
              PackedSequences.of(Fixtures.tokens(fixture, "calib")),
              SweepOptions.of(Math.min(lookahead.most(), source.layers())).withPassCost(1))) {
        SearchResult result =
            new LayerCollapse(settings(run), source, scorer, lookahead)
                .run(run.get("threshold").doubleValue(), (trial, share) -> {});
        return new Found(result, scorer.work());
      }
    }
  }

  private static List<String> decisions(SearchResult result) {
    return result.trials().stream()
        .map(t -> t.base() + " " + t.merged() + " " + t.layersBefore() + " " + t.accepted())
        .toList();
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
