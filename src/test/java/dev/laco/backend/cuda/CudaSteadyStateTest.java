package dev.laco.backend.cuda;

import static org.junit.jupiter.api.Assertions.assertEquals;

import dev.laco.Compute;
import dev.laco.CudaBinding;
import dev.laco.Fixtures;
import dev.laco.apply.PlanApplier;
import dev.laco.checkpoint.Checkpoint;
import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.MergeRule;
import dev.laco.collapse.NormsPolicy;
import dev.laco.collapse.Score;
import dev.laco.model.PackedSequences;
import dev.laco.scoring.SweepOptions;
import dev.laco.scoring.SweepScorer;
import dev.laco.transformer.RunningModel;
import java.util.List;
import java.util.stream.IntStream;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** What a trial costs beside its work. */
@OnStandIn
class CudaSteadyStateTest {
  @ParameterizedTest
  @CsvSource({"llama_tied_rope3,F32", "llama_tied_rope3,AUTO", "qwen3_qknorm,AUTO"})
  void aTrialAllocatesNothingAndWaitsOnce(String fixture, Compute compute) {
    EmulatedDevice.reset();
    try (Checkpoint checkpoint = Checkpoint.open(Fixtures.model(fixture));
        CudaBackend backend = CudaBackend.open(compute, 0, CudaBinding.FFM)) {
      CollapsePlan.Source source = PlanApplier.source(checkpoint);
      CollapsePlan identity = CollapsePlan.identity(source);
      MergeRule rule = MergeRule.parse("rdsc");
      try (SweepScorer scorer =
          new SweepScorer(
              new RunningModel(backend, checkpoint.config(), checkpoint),
              source,
              PackedSequences.of(Fixtures.tokens(fixture, "calib")),
              SweepOptions.of(1))) {
        // The first trial makes the scratch layer.
        scorer.score(List.of(identity.fold(2, 2, rule, NormsPolicy.MERGE)));
        for (int base = 4; base > 0; base--) {
          long allocations = EmulatedDevice.allocations();
          long waits = EmulatedDevice.synchronizations();
          scorer.score(List.of(identity.fold(base, 2, rule, NormsPolicy.MERGE)));
          assertEquals(allocations, EmulatedDevice.allocations());
          assertEquals(waits + 1, EmulatedDevice.synchronizations());
        }
      }
    }
    EmulatedDevice.assertNothingLeaks();
  }

  @ParameterizedTest
  @CsvSource({"llama_tied_rope3,F32", "llama_tied_rope3,AUTO", "qwen3_qknorm,AUTO"})
  void manyTrialsInOnePassAllocateNothingAndWaitOnce(String fixture, Compute compute) {
    EmulatedDevice.reset();
    try (Checkpoint checkpoint = Checkpoint.open(Fixtures.model(fixture));
        CudaBackend backend = CudaBackend.open(compute, 0, CudaBinding.FFM)) {
      CollapsePlan.Source source = PlanApplier.source(checkpoint);
      CollapsePlan identity = CollapsePlan.identity(source);
      List<CollapsePlan> plans =
          IntStream.range(0, identity.depth() - 2)
              .mapToObj(base -> identity.fold(base, 2, MergeRule.parse("rdsc"), NormsPolicy.MERGE))
              .toList();
      try (SweepScorer scorer =
          new SweepScorer(
              new RunningModel(backend, checkpoint.config(), checkpoint),
              source,
              PackedSequences.of(Fixtures.tokens(fixture, "calib")),
              SweepOptions.of(plans.size()))) {
        List<Score> first = scorer.score(plans);
        long allocations = EmulatedDevice.allocations();
        long waits = EmulatedDevice.synchronizations();
        assertEquals(first, scorer.score(plans));
        assertEquals(allocations, EmulatedDevice.allocations());
        assertEquals(waits + 1, EmulatedDevice.synchronizations());
        for (int i = 0; i < plans.size(); i++) {
          assertEquals(scorer.scoreAlone(plans.get(i)).mean(), first.get(i).mean(), scorer.noise());
        }
      }
    }
    EmulatedDevice.assertNothingLeaks();
  }
}
