package dev.laco.collapse;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import dev.laco.Fixtures;
import dev.laco.UsageException;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.Iterator;
import java.util.List;
import java.util.Set;
import java.util.stream.Stream;
import java.util.stream.StreamSupport;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Algorithm 1: what is tried, in which order, and what is kept. */
final class LayerCollapseTest {

  /** Answers with scores in the order in which they were recorded. */
  private record Replay(Iterator<Score> scores) implements Scorer {
    @Override
    public List<Score> score(List<CollapsePlan> plans) {
      return plans.stream().map(plan -> scores.next()).toList();
    }

    @Override
    public int sweeps() {
      return 0;
    }
  }

  /**
   * Similarity falls with every removed layer, faster towards the front; counts what it is asked.
   */
  private static final class Decay implements Scorer {
    final List<CollapsePlan> asked = new ArrayList<>();

    @Override
    public List<Score> score(List<CollapsePlan> plans) {
      asked.addAll(plans);
      return plans.stream().map(Decay::score).toList();
    }

    static Score score(CollapsePlan plan) {
      Set<Integer> kept = new HashSet<>();
      plan.layers().forEach(mix -> kept.add(mix.base()));
      double lost = 0;
      for (int layer = 0; layer < plan.source().layers(); layer++) {
        lost += kept.contains(layer) ? 0 : 1.0 / (3 + layer);
      }
      return new Score(List.of(1 - lost));
    }

    @Override
    public int sweeps() {
      return asked.size();
    }
  }

  static Stream<String> publishedModels() {
    Iterable<String> names =
        () -> Fixtures.read(Fixtures.RESOURCES.resolve("reference_traces.json")).fieldNames();
    return StreamSupport.stream(names.spliterator(), false);
  }

  @ParameterizedTest
  @MethodSource("publishedModels")
  void runsOfThePublishedCodeAreReproducedStepByStep(String model) {
    JsonNode run = Fixtures.read(Fixtures.RESOURCES.resolve("reference_traces.json")).get(model);
    JsonNode config = run.get("config");
    List<Score> recorded = new ArrayList<>();
    for (JsonNode step : run.get("steps")) {
      List<Double> similarities = new ArrayList<>();
      step.get("sims").forEach(s -> similarities.add(s.doubleValue()));
      recorded.add(new Score(similarities));
    }
    int highest = config.get("H").intValue();
    CollapseSettings settings =
        settings(
            config.get("C").intValue(),
            config.get("I").intValue(),
            config.get("L").intValue(),
            highest);
    SearchResult result =
        new LayerCollapse(settings, source(highest), new Replay(recorded.iterator()))
            .run(config.get("T").doubleValue(), (trial, progress) -> {});
    assertEquals(run.get("n_steps").intValue(), result.trials().size());
    for (Trial trial : result.trials()) {
      JsonNode step = run.get("steps").get(trial.step());
      assertEquals(step.get("l").intValue(), trial.base());
      assertEquals(step.get("layers_before").intValue(), trial.layersBefore());
      assertEquals(step.get("accepted").booleanValue(), trial.accepted());
      assertEquals(step.get("mean").doubleValue(), trial.score().mean(), 1e-6);
    }
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 2, 7, 11, 15, 16})
  void aTargetIsReachedAndItsThresholdGivesTheSameModelAgain(int target) {
    CollapseSettings settings = settings(4, 1, 0, 16);
    SearchResult found =
        new LayerCollapse(settings, source(16), new Decay()).reach(target, (t, p) -> {});
    assertEquals(target, found.plan().depth());
    List<Trial> accepted = found.trials().stream().filter(Trial::accepted).toList();
    double lowest = accepted.stream().mapToDouble(t -> t.score().mean()).min().orElse(2);
    assertEquals(target == 16 ? 1 : Math.nextDown(lowest), found.threshold());
    for (Trial trial : found.trials()) {
      assertEquals(trial.accepted(), trial.score().mean() > found.threshold());
    }
  }

  @Test
  void noPlanIsScoredTwiceWhileATargetIsSought() {
    Decay scorer = new Decay();
    new LayerCollapse(settings(4, 2, 1, 24), source(24), scorer).reach(17, (t, p) -> {});
    assertEquals(new HashSet<>(scorer.asked).size(), scorer.asked.size());
  }

  @Test
  void spansNeverGoBelowTheTarget() {
    SearchResult found =
        new LayerCollapse(settings(6, 1, 0, 12), source(12), new Decay()).reach(10, (t, p) -> {});
    assertTrue(found.trials().stream().allMatch(t -> t.layersBefore() - t.merged() >= 10));
  }

  @Test
  void anUnreachableTargetSaysWhatWasReachable() {
    LayerCollapse collapse = new LayerCollapse(settings(2, 3, 5, 12), source(12), new Decay());
    UsageException e = assertThrows(UsageException.class, () -> collapse.reach(2, (t, p) -> {}));
    assertTrue(e.getMessage().contains("10 of 12"), e.getMessage());
  }

  @Test
  void aMeanEqualToTheThresholdIsRejected() {
    CollapseSettings settings = settings(2, 1, 0, 2);
    Scorer half = new Replay(List.of(new Score(List.of(0.5))).iterator());
    assertEquals(
        2, new LayerCollapse(settings, source(2), half).run(0.5, (t, p) -> {}).plan().depth());
  }

  @Test
  void aScoreThatIsNotANumberIsRejected() {
    CollapseSettings settings = settings(2, 1, 0, 2);
    Scorer broken = new Replay(List.of(new Score(List.of(Double.NaN))).iterator());
    assertEquals(
        2, new LayerCollapse(settings, source(2), broken).run(-1, (t, p) -> {}).plan().depth());
  }

  @Test
  void numbersOutOfRangeAreUsageErrorsThatNameTheOption() {
    assertUsage("--merge-layers", settings(1, 1, 0, 8));
    assertUsage("--merge-layers", settings(9, 1, 0, 8));
    assertUsage("--interval", settings(4, 0, 0, 8));
    assertUsage("--highest", settings(4, 1, 0, 9));
    assertUsage("--highest", settings(4, 1, 0, 3));
    assertUsage("--lowest", settings(4, 1, 5, 8));
    assertUsage("--lowest", settings(4, 1, -1, 8));
  }

  private static void assertUsage(String option, CollapseSettings settings) {
    UsageException e = assertThrows(UsageException.class, () -> settings.check(8));
    assertTrue(e.getMessage().startsWith(option), e.getMessage());
  }

  private static CollapseSettings settings(int c, int i, int l, int h) {
    return new CollapseSettings(c, i, l, h, MergeRule.REPLACE, NormsPolicy.BASE);
  }

  private static CollapsePlan.Source source(int layers) {
    return new CollapsePlan.Source("LlamaForCausalLM", layers, "sha256:0");
  }
}
