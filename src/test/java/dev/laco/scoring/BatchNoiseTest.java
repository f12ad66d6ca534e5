package dev.laco.scoring;

import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.Compute;
import dev.laco.Fixtures;
import dev.laco.apply.PlanApplier;
import dev.laco.backend.Backend;
import dev.laco.backend.cpu.CpuBackend;
import dev.laco.checkpoint.Checkpoint;
import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.MergeRule;
import dev.laco.collapse.NormsPolicy;
import dev.laco.collapse.Score;
import dev.laco.model.PackedSequences;
import dev.laco.transformer.RunningModel;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** The table of noise holds, and is not made up. */
public final class BatchNoiseTest {
  /** So much larger than what is measured here may a bound be: other processors round otherwise. */
  private static final double ROOM = 200;

  private static final int FEW_TOKENS = 3;

  @ParameterizedTest
  @EnumSource(Compute.class)
  void meansMoveLessThanTheTableSaysWithThePlansBesideThem(Compute compute) {
    try (Backend backend = CpuBackend.open(compute, 2)) {
      double largest = 0;
      for (String fixture : Fixtures.merging().toList()) {
        List<int[]> calibration = Fixtures.tokens(fixture, "calib");
        // Few rows alone and many together are multiplied by different kernels.
        List<int[]> few = List.of(Arrays.copyOf(calibration.getFirst(), FEW_TOKENS));
        for (List<int[]> sentences : List.of(calibration, few)) {
          largest = Math.max(largest, drift(backend, Fixtures.model(fixture), sentences).largest());
        }
      }
      double bound = BatchNoise.table(backend);
      assertTrue(largest <= bound, largest + " is more than " + bound);
      assertTrue(bound <= ROOM * largest, bound + " is far from " + largest);
    }
  }

  /**
   * How far means move with the plans beside them.
   *
   * @param largest the most that a mean differs between a plan alone and among others
   * @param bound what the scorer says of that
   */
  public record Drift(double largest, double bound) {}

  /** Of some plans of a model. */
  public static Drift drift(Backend backend, Path model, List<int[]> sentences) {
    try (Checkpoint checkpoint = Checkpoint.open(model)) {
      CollapsePlan original = CollapsePlan.identity(PlanApplier.source(checkpoint));
      List<CollapsePlan> plans = new ArrayList<>();
      MergeRule rule = MergeRule.parse("mean");
      for (int base = 0; base + 2 < original.depth(); base += Math.ceilDiv(original.depth(), 9)) {
        plans.add(original.fold(base, 2, rule, NormsPolicy.BASE));
      }
      PackedSequences calibration = PackedSequences.of(sentences);
      try (SweepScorer scorer =
          new SweepScorer(
              new RunningModel(backend, checkpoint.config(), checkpoint),
              original.source(),
              calibration,
              SweepOptions.of(plans.size()))) {
        List<Score> alone =
            plans.stream().map(plan -> scorer.score(List.of(plan)).getFirst()).toList();
        double largest = 0;
        for (int count = 2; count <= plans.size(); count = 2 * count - 1) {
          for (int from = 0; from + count <= plans.size(); from += count) {
            List<Score> beside = scorer.score(plans.subList(from, from + count));
            for (int i = 0; i < count; i++) {
              largest =
                  Math.max(largest, Math.abs(beside.get(i).mean() - alone.get(from + i).mean()));
            }
          }
        }
        return new Drift(largest, scorer.noise());
      }
    }
  }
}
