package dev.laco.scoring;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.Compute;
import dev.laco.Fixtures;
import dev.laco.apply.PlanApplier;
import dev.laco.backend.Backend;
import dev.laco.backend.reference.ReferenceBackend;
import dev.laco.checkpoint.Checkpoint;
import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.MergeRule;
import dev.laco.collapse.NormsPolicy;
import dev.laco.collapse.Objective;
import dev.laco.collapse.Score;
import dev.laco.measure.PerplexityMeasure;
import dev.laco.model.HostTensor;
import dev.laco.model.PackedSequences;
import dev.laco.model.TensorSource;
import dev.laco.report.Perplexity;
import dev.laco.text.TextChunks;
import dev.laco.transformer.PlannedLayers;
import dev.laco.transformer.RunningModel;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/**
 * Plans scored together, with little memory or much, score as they do alone. The reference backend
 * gives every row the same bits in any batch, so that scores must be equal.
 */
final class SweepScorerTest {
  private static final String FIXTURE = "qwen3_qknorm";

  private final Checkpoint checkpoint = Checkpoint.open(Fixtures.model(FIXTURE));
  private final CollapsePlan original = CollapsePlan.identity(PlanApplier.source(checkpoint));
  private final List<int[]> sentences = List.of(new int[] {3, 1, 4}, new int[] {1, 5});
  private final PackedSequences calibration = PackedSequences.of(sentences);

  private SweepScorer scorer(Backend backend, SweepOptions options) {
    return new SweepScorer(
        new RunningModel(backend, checkpoint.config(), checkpoint),
        original.source(),
        calibration,
        options);
  }

  /** Plans of up to three merges, anywhere, by any rule; some more than once. */
  private List<CollapsePlan> randomPlans(long seed) {
    Random random = new Random(seed);
    List<CollapsePlan> plans = new ArrayList<>(List.of(original));
    for (int i = 0; i < 24; i++) {
      CollapsePlan plan = plans.get(random.nextInt(plans.size()));
      if (plan.depth() > 2) {
        int followers = 1 + random.nextInt(Math.min(3, plan.depth() - 2));
        MergeRule rule =
            MergeRule.parse(List.of("replace", "rdsc", "mean", "drop").get(random.nextInt(4)));
        NormsPolicy norms = NormsPolicy.values()[random.nextInt(2)];
        plan = plan.fold(random.nextInt(plan.depth() - followers), followers, rule, norms);
      }
      plans.add(plan);
    }
    // One that ends early, with layers of the original alone.
    plans.add(pruned());
    return plans;
  }

  private List<Score> oneByOne(List<CollapsePlan> plans) {
    try (Backend backend = new ReferenceBackend(Compute.F32);
        SweepScorer scorer = scorer(backend, SweepOptions.of(1))) {
      return plans.stream().map(plan -> scorer.score(List.of(plan)).getFirst()).toList();
    }
  }

  @ParameterizedTest
  @CsvSource({"1,0", "3,0", "8,20000", "64,0", "64,9223372036854775807", "5,9223372036854775807"})
  void plansScoreTheSameTogetherAsAlone(int candidates, long bytes) {
    List<CollapsePlan> plans = randomPlans(candidates);
    List<Score> alone = oneByOne(plans);
    try (Backend backend = new ReferenceBackend(Compute.F32);
        SweepScorer scorer = scorer(backend, SweepOptions.of(candidates).withBytes(bytes))) {
      assertEquals(alone, scorer.score(plans));
      // Again, from what was kept.
      scorer.keep(plans.subList(3, 6));
      assertEquals(alone, scorer.score(plans));
      assertEquals(alone, scorer.score(plans));
      scorer.keep(plans.subList(5, 9));
      assertEquals(alone, scorer.score(plans));
    }
  }

  /** The checkpoint's weights, in a memory that has room for more. */
  private record Spacious(Checkpoint checkpoint, long spare) implements TensorSource {
    @Override
    public HostTensor tensor(String name) {
      return checkpoint.tensor(name);
    }

    @Override
    public long byteSize(String name) {
      return checkpoint.byteSize(name);
    }
  }

  /** Of an accepted merge, where memory has room for it; scores are the same. */
  @ParameterizedTest
  @CsvSource({"mean, 0, 1", "mean, -1, 0", "drop, 0, 0"})
  void theMixedLayerOfAnAcceptedPlanIsReadInThePlaceOfItsSources(
      String named, long more, int layersSaved) {
    MergeRule rule = MergeRule.parse(named);
    long layer = checkpoint.layerBytes(2);
    CollapsePlan accepted = original.fold(2, 1, rule, rule.defaultNorms());
    List<CollapsePlan> later =
        Stream.of("drop", "mean")
            .map(first -> accepted.fold(0, 1, MergeRule.parse(first), NormsPolicy.MERGE))
            .toList();
    List<Score> alone = oneByOne(later);
    long[] read = new long[2];
    long[] spares = {0, layer + more};
    for (int i = 0; i < spares.length; i++) {
      try (Backend backend = new ReferenceBackend(Compute.AUTO);
          SweepScorer scorer =
              new SweepScorer(
                  new RunningModel(
                      backend, checkpoint.config(), new Spacious(checkpoint, spares[i])),
                  original.source(),
                  calibration,
                  SweepOptions.of(1))) {
        scorer.score(List.of(accepted));
        scorer.accepted(accepted);
        assertEquals(alone, later.stream().map(p -> scorer.score(List.of(p)).getFirst()).toList());
        read[i] = scorer.work().bytesRead();
      }
    }
    assertEquals(layersSaved * layer, read[0] - read[1]);
  }

  @Test
  void scoresTellOfNextTokensWhereThatIsAskedFor() {
    CollapsePlan merged = original.fold(1, 1, MergeRule.parse("mean"), NormsPolicy.MERGE);
    try (Backend backend = new ReferenceBackend(Compute.F32);
        SweepScorer scorer = scorer(backend, SweepOptions.of(2).with(Objective.KL))) {
      List<Score> scores = scorer.score(List.of(merged, original, pruned()));
      for (Score score : scores) {
        assertTrue(Objective.NLL.value(score) < 0);
      }
      assertEquals(0, Objective.KL.value(scores.get(1)), 1e-6);
      assertTrue(Objective.KL.value(scores.getFirst()) < -1e-6);
      try (PlannedLayers layers =
          new RunningModel(backend, checkpoint.config(), checkpoint).candidates(merged)) {
        Perplexity expected =
            PerplexityMeasure.measure(
                layers.model(), TextChunks.whole(sentences), (done, total) -> {});
        assertEquals(expected.meanNll(), -Objective.NLL.value(scores.getFirst()), 1e-12);
      }
    }
  }

  private CollapsePlan pruned() {
    return new CollapsePlan(original.source(), original.layers().subList(0, 2));
  }

  @Test
  void manyPlansTakeOnePassAndOneWithTheOriginals() {
    try (Backend backend = new ReferenceBackend(Compute.F32);
        SweepScorer scorer = scorer(backend, SweepOptions.of(64))) {
      assertEquals(1, scorer.sweeps());
      scorer.score(randomPlans(1));
      assertEquals(2, scorer.sweeps());
      scorer.score(List.of(original));
      assertEquals(2, scorer.sweeps());
      assertTrue(scorer.work().bytesRead() <= 2 * scorer.work().floorBytes());
    }
  }

  @Test
  void equalPlansAndEqualBeginningsAreRunOnce() {
    CollapsePlan merged = original.fold(1, 1, MergeRule.parse("mean"), NormsPolicy.MERGE);
    CollapsePlan again = merged.fold(2, 1, MergeRule.parse("mean"), NormsPolicy.MERGE);
    try (Backend backend = new ReferenceBackend(Compute.F32);
        SweepScorer scorer = scorer(backend, SweepOptions.of(3))) {
      long layer = scorer.work().operations() / original.depth();
      assertEquals(scorer.work().floorOperations(), scorer.work().operations());
      scorer.score(List.of(merged, again, merged));
      // Both share the merged layer 1; from layer 2 on they differ.
      long run = 1 + (merged.depth() - 2) + (again.depth() - 2);
      assertEquals((original.depth() + run) * layer, scorer.work().operations());
    }
  }

  @Test
  void aKeptPlanIsNotRunAgainFromItsBeginning() {
    CollapsePlan kept = original.fold(1, 1, MergeRule.parse("mean"), NormsPolicy.MERGE);
    CollapsePlan deeper = kept.fold(2, 1, MergeRule.parse("mean"), NormsPolicy.MERGE);
    try (Backend backend = new ReferenceBackend(Compute.F32);
        SweepScorer scorer = scorer(backend, SweepOptions.of(2))) {
      long layer = scorer.work().operations() / original.depth();
      scorer.keep(List.of(kept));
      scorer.score(List.of(kept));
      long before = scorer.work().operations();
      scorer.score(List.of(deeper));
      assertEquals((deeper.depth() - 2) * layer, scorer.work().operations() - before);
    }
  }
}
