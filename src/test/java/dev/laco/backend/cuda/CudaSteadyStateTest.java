package dev.laco.backend.cuda;

import static org.junit.jupiter.api.Assertions.assertEquals;

import dev.laco.Compute;
import dev.laco.CudaBinding;
import dev.laco.Fixtures;
import dev.laco.apply.PlanApplier;
import dev.laco.backend.AttentionSpec;
import dev.laco.backend.Head;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.backend.TensorMix;
import dev.laco.backend.TokenBatch;
import dev.laco.backend.TrainingOps;
import dev.laco.checkpoint.Checkpoint;
import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.MergeRule;
import dev.laco.collapse.NormsPolicy;
import dev.laco.collapse.Score;
import dev.laco.model.DType;
import dev.laco.model.LogitSpec;
import dev.laco.model.NormSpec;
import dev.laco.model.PackedSequences;
import dev.laco.scoring.SweepOptions;
import dev.laco.scoring.SweepScorer;
import dev.laco.transformer.RunningModel;
import java.util.List;
import java.util.function.Supplier;
import java.util.stream.IntStream;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;

/** What trials, and steps of training, cost beside their work. */
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

  @ParameterizedTest
  @EnumSource(Compute.class)
  void aStepOfTrainingAllocatesNothingAndWaitsForLossAndNormOnly(Compute compute) {
    EmulatedDevice.reset();
    try (CudaBackend backend = CudaBackend.open(compute, 0, CudaBinding.FFM);
        TensorArena arena = backend.arena();
        TokenBatch batch =
            backend.batch(
                PackedSequences.of(List.of(new int[300], new int[2])),
                0,
                new float[0],
                new float[0])) {
      Supplier<Tensor> states = () -> arena.allocate(DType.F32, 302, 8);
      Tensor x = states.get();
      Tensor gradient = states.get();
      Tensor out = states.get();
      Tensor other = states.get();
      Tensor sums = arena.allocate(DType.F32, 1, 8);
      Tensor logSums = arena.allocate(DType.F32, 302, 2);
      Tensor weight = arena.allocate(DType.BF16, 40, 8);
      Tensor wide = arena.allocate(DType.F32, 302, 40);
      Tensor norm = weight.slice(0, 1);
      for (Tensor tensor : List.of(x, gradient, out, sums, wide)) {
        backend.upload(new float[(int) tensor.elements()], tensor);
      }
      backend.mix(
          List.of(
              new TensorMix(weight, new double[] {1}, List.of(wide.slice(0, 8).reshape(40, 8)))));
      AttentionSpec spec = new AttentionSpec(2, 2, 4, 0, LogitSpec.PLAIN, DType.BF16);
      TrainingOps ops = backend.training();
      Runnable step =
          () -> {
            ops.linearGradient(wide, weight, true, out);
            ops.addColumns(x, sums);
            ops.rmsNormGradient(x, norm, new NormSpec(1, 0), gradient, sums, out);
            ops.layerNormGradient(x, norm, new NormSpec(1, 0), gradient, sums, sums, out);
            ops.attention(x, x, x, null, spec, batch, out, logSums);
            ops.attentionGradient(
                x, x, x, spec, batch, out, logSums, gradient, other, other, other);
            ops.distillationLoss(
                x, x, new Head(weight, LogitSpec.PLAIN), batch, 0.5, 1, new double[302], gradient);
            ops.sumsOfSquares(List.of(gradient, sums));
          };
      step.run();
      long allocations = EmulatedDevice.allocations();
      long waits = EmulatedDevice.synchronizations();
      step.run();
      assertEquals(allocations, EmulatedDevice.allocations());
      assertEquals(waits + 2, EmulatedDevice.synchronizations());
    }
    EmulatedDevice.assertNothingLeaks();
  }
}
