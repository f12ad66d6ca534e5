package dev.laco.scoring;

import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.Fixtures;
import dev.laco.apply.PlanApplier;
import dev.laco.backend.Backend;
import dev.laco.backend.Compute;
import dev.laco.backend.cpu.CpuBackend;
import dev.laco.checkpoint.Checkpoint;
import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.MergeRule;
import dev.laco.collapse.NormsPolicy;
import dev.laco.collapse.Score;
import dev.laco.model.PackedSequences;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** The table of noise holds, and is not made up. */
final class BatchNoiseTest {
  /** So much larger than what is measured here may a bound be: other processors round otherwise. */
  private static final double ROOM = 1000;

  @ParameterizedTest
  @EnumSource(Compute.class)
  void meansMoveLessThanTheTableSaysWithThePlansBesideThem(Compute compute) {
    try (Backend backend = CpuBackend.open(compute, 2)) {
      double largest = 0;
      for (String fixture : Fixtures.names().toList()) {
        double drift = drift(backend, fixture);
        System.out.println(compute + " " + fixture + " " + drift);
        largest = Math.max(largest, drift);
      }
      double bound = BatchNoise.of(backend);
      assertTrue(largest <= bound, largest + " is more than " + bound);
      assertTrue(bound <= ROOM * largest, bound + " is far from " + largest);
    }
  }

  /** The most that a mean differs between a plan alone and among others. */
  static double drift(Backend backend, String fixture) {
    try (Checkpoint checkpoint = Checkpoint.open(Fixtures.model(fixture))) {
      CollapsePlan original = CollapsePlan.identity(PlanApplier.source(checkpoint));
      List<CollapsePlan> plans = new ArrayList<>();
      for (String rule : List.of("replace", "rdsc", "mean")) {
        for (int base = 0; base + 2 < original.depth(); base++) {
          plans.add(original.fold(base, 2, MergeRule.parse(rule), NormsPolicy.BASE));
        }
      }
      PackedSequences calibration = PackedSequences.of(Fixtures.tokens(fixture, "calib"));
      try (SweepScorer scorer =
          new SweepScorer(
              backend,
              checkpoint.config(),
              checkpoint,
              original.source(),
              calibration,
              SweepOptions.of(plans.size()))) {
        List<Score> alone =
            plans.stream().map(plan -> scorer.score(List.of(plan)).getFirst()).toList();
        double drift = 0;
        for (int count = 2; count <= plans.size(); count = 2 * count - 1) {
          for (int from = 0; from + count <= plans.size(); from += count) {
            List<Score> beside = scorer.score(plans.subList(from, from + count));
            for (int i = 0; i < count; i++) {
              drift = Math.max(drift, Math.abs(beside.get(i).mean() - alone.get(from + i).mean()));
            }
          }
        }
        return drift;
      }
    }
  }
}
