package dev.laco.scoring;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.Compute;
import dev.laco.DeviceInfo;
import dev.laco.Fixtures;
import dev.laco.apply.PlanApplier;
import dev.laco.backend.Backend;
import dev.laco.backend.Tensor;
import dev.laco.backend.reference.ReferenceBackend;
import dev.laco.checkpoint.Checkpoint;
import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.CollapseSettings;
import dev.laco.collapse.LayerCollapse;
import dev.laco.collapse.Lookahead;
import dev.laco.collapse.MergeRule;
import dev.laco.collapse.NormsPolicy;
import dev.laco.collapse.Score;
import dev.laco.collapse.Trial;
import dev.laco.model.PackedSequences;
import dev.laco.transformer.RunningModel;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Proxy;
import java.util.List;
import java.util.Locale;
import java.util.function.BiFunction;
import org.junit.jupiter.api.Test;

/**
 * On a GPU nobody has tabled how far means move with the plans beside them: the scorer measures.
 */
class MeasuredNoiseTest {
  private static final String FIXTURE = "llama_untied_gqa";

  /** Far more than the table of any backend has for exact products. */
  private static final double DRIFT = 1e-3;

  @Test
  void theBoundIsAboveWhatTheDeviceShows() {
    onDriftingDevice(
        (scorer, original) -> {
          assertTrue(scorer.noise() < DRIFT, "nothing has run in a batch");
          List<CollapsePlan> plans =
              List.of(drop(original, 1), drop(original, 3), drop(original, 5));
          scorer.score(plans);
          assertTrue(scorer.noise() > 2 * DRIFT, () -> "only " + scorer.noise());
          int sweeps = scorer.sweeps();
          scorer.score(plans);
          scorer.noise();
          assertEquals(sweeps + 1, scorer.sweeps(), "it is measured once");
          return null;
        });
  }

  @Test
  void aMeanThatIsNoNumberLeavesTheBoundANumber() {
    onDriftingDevice(
        Double.NaN,
        (scorer, original) -> {
          double table = scorer.noise();
          Score beside = scorer.score(List.of(drop(original, 1), drop(original, 3))).getFirst();
          assertEquals(Double.NaN, beside.mean());
          assertEquals(table, scorer.noise());
          return null;
        });
  }

  /** The threshold lies between a mean and what the device makes of it in a batch. */
  @Test
  void decisionsAreThoseOfOneAtATime() {
    List<Trial> alone =
        onDriftingDevice((scorer, original) -> trials(scorer, original, Lookahead.NONE, 0.5));
    double threshold = alone.getFirst().score().mean() - DRIFT / 2;
    alone =
        onDriftingDevice((scorer, original) -> trials(scorer, original, Lookahead.NONE, threshold));
    assertTrue(alone.getFirst().accepted());
    assertFalse(alone.stream().allMatch(Trial::accepted));
    List<Trial> ahead =
        onDriftingDevice((scorer, original) -> trials(scorer, original, Lookahead.ALL, threshold));
    assertEquals(
        alone.stream().map(MeasuredNoiseTest::decision).toList(),
        ahead.stream().map(MeasuredNoiseTest::decision).toList());
  }

  private static String decision(Trial trial) {
    return String.format(
        Locale.ROOT, "%d of %d: %b", trial.base(), trial.layersBefore(), trial.accepted());
  }

  private static List<Trial> trials(
      SweepScorer scorer, CollapsePlan original, Lookahead lookahead, double threshold) {
    CollapseSettings settings =
        new CollapseSettings(2, 1, 0, original.depth(), MergeRule.DROP, NormsPolicy.BASE);
    return new LayerCollapse(settings, original.source(), scorer, lookahead)
        .run(threshold, (trial, share) -> {})
        .trials();
  }

  private static CollapsePlan drop(CollapsePlan plan, int base) {
    return plan.fold(base, 1, MergeRule.DROP, NormsPolicy.BASE);
  }

  private static <T> T onDriftingDevice(BiFunction<SweepScorer, CollapsePlan, T> work) {
    return onDriftingDevice(DRIFT, work);
  }

  private static <T> T onDriftingDevice(
      double drift, BiFunction<SweepScorer, CollapsePlan, T> work) {
    try (Backend backend = drifting(new ReferenceBackend(Compute.F32), drift);
        Checkpoint checkpoint = Checkpoint.open(Fixtures.model(FIXTURE));
        SweepScorer scorer =
            new SweepScorer(
                new RunningModel(backend, checkpoint.config(), checkpoint),
                PlanApplier.source(checkpoint),
                PackedSequences.of(Fixtures.tokens(FIXTURE, "calib")),
                SweepOptions.of(8))) {
      return work.apply(scorer, CollapsePlan.identity(PlanApplier.source(checkpoint)));
    }
  }

  /** A device whose similarities are less where several candidates ran. */
  private static Backend drifting(Backend exact, double drift) {
    return (Backend)
        Proxy.newProxyInstance(
            Backend.class.getClassLoader(),
            new Class<?>[] {Backend.class},
            (proxy, method, arguments) -> {
              if (method.getName().equals("info")) {
                return DeviceInfo.inHostMemory(DeviceInfo.Kind.CUDA, "cuda:0 (a test)");
              }
              Object result;
              try {
                result = method.invoke(exact, arguments);
              } catch (InvocationTargetException e) {
                throw e.getCause();
              }
              if (method.getName().equals("cosine")
                  && ((Tensor) arguments[1]).rows() > ((Tensor) arguments[0]).rows()) {
                double[] cosines = (double[]) result;
                for (int i = 0; i < cosines.length; i++) {
                  cosines[i] -= drift;
                }
              }
              return result;
            });
  }
}
