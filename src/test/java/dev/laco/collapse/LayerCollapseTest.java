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
import java.util.Random;
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
  private static class Decay implements Scorer {
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

  /**
   * Means that are a plan's own, and shift a little with the plans that are asked for beside it.
   * Many lie close to one another.
   */
  private static final class Noisy implements Scorer {
    static final double NOISE = 1e-3;
    int rescored;

    @Override
    public List<Score> score(List<CollapsePlan> plans) {
      assertEquals(new HashSet<>(plans).size(), plans.size());
      double shift = plans.size() == 1 ? 0 : NOISE * Math.cos(plans.hashCode());
      return plans.stream().map(plan -> new Score(List.of(mean(plan) + shift))).toList();
    }

    static double mean(CollapsePlan plan) {
      Random random = new Random(plan.hashCode());
      return 0.1 * random.nextInt(10) + NOISE * random.nextDouble(-3, 3);
    }

    @Override
    public Score scoreAlone(CollapsePlan plan) {
      rescored++;
      return score(List.of(plan)).getFirst();
    }

    @Override
    public double noise() {
      return NOISE;
    }

    @Override
    public double passCost() {
      return 3;
    }

    @Override
    public int sweeps() {
      return 0;
    }
  }

  @Test
  void askingAheadChangesNoDecision() {
    int rescored = 0;
    for (int seed = 0; seed < 2000; seed++) {
      Random random = new Random(seed);
      int depth = random.nextInt(2, 24);
      int c = random.nextInt(2, Math.min(depth, 6) + 1);
      int h = random.nextInt(c, depth + 1);
      int l = random.nextInt(0, h - c + 1);
      CollapseSettings settings =
          new CollapseSettings(
              c,
              random.nextInt(1, 4),
              l,
              h,
              MergeRule.parse(List.of("replace", "rdsc", "mean", "drop").get(random.nextInt(4))),
              NormsPolicy.values()[random.nextInt(2)]);
      double threshold = 0.1 * random.nextInt(10) + Noisy.NOISE * random.nextDouble(-3, 3);
      Lookahead lookahead =
          switch (random.nextInt(3)) {
            case 0 -> Lookahead.ALL;
            case 1 -> Lookahead.fixed(random.nextInt(1, 9));
            default -> Lookahead.upTo(random.nextInt(1, 9));
          };
      Noisy ahead = new Noisy();
      LayerCollapse one = new LayerCollapse(settings, source(depth), new Noisy());
      LayerCollapse many = new LayerCollapse(settings, source(depth), ahead, lookahead);
      assertSameDecisions(
          one.run(threshold, (t, p) -> {}), many.run(threshold, (t, p) -> {}), lookahead);
      int target = random.nextInt(1, depth + 1);
      Object expected = reached(one, target);
      Object found = reached(many, target);
      if (expected instanceof SearchResult result) {
        assertSameDecisions(result, (SearchResult) found, lookahead);
        assertEquals(result.threshold(), ((SearchResult) found).threshold());
      } else {
        assertEquals(expected, found);
      }
      rescored += ahead.rescored;
    }
    assertTrue(rescored > 100, "only " + rescored + " were close to a threshold");
  }

  /** What a search for a depth comes to: a result, or the message of the error. */
  private static Object reached(LayerCollapse collapse, int target) {
    try {
      return collapse.reach(target, (t, p) -> {});
    } catch (UsageException e) {
      return e.getMessage();
    }
  }

  private static void assertSameDecisions(
      SearchResult expected, SearchResult found, Lookahead lookahead) {
    assertEquals(expected.plan(), found.plan(), lookahead::toString);
    assertEquals(decisions(expected), decisions(found), lookahead::toString);
  }

  private static List<Trial> decisions(SearchResult result) {
    return result.trials().stream()
        .map(
            t ->
                new Trial(
                    t.step(),
                    t.base(),
                    t.merged(),
                    t.layersBefore(),
                    Score.UNCHANGED,
                    t.accepted()))
        .toList();
  }

  @Test
  void asManyAreAskedForAsAPassIsWorth() {
    Lookahead lookahead = Lookahead.upTo(64);
    assertEquals(1, lookahead.next(0, 0, 0));
    assertEquals(1, lookahead.next(0.3, 10, 3));
    int some = lookahead.next(3, 10, 3);
    assertTrue(some > 1 && some < 8, "asked for " + some);
    assertTrue(lookahead.next(30, 10, 3) > some);
    assertTrue(lookahead.next(3, 30, 1) > some);
    assertEquals(2, Lookahead.upTo(2).next(30, 30, 1));
    assertEquals(7, Lookahead.fixed(7).next(0, 30, 1));
    assertEquals(1, lookahead.most(0, 20));
    assertEquals(20, lookahead.most(1, 20));
    assertEquals(20, Lookahead.ALL.most(0, 20));
  }

  @ParameterizedTest
  @ValueSource(strings = {"0", "-1", "", "all!", "1.5", "99999999999"})
  void aLookaheadThatIsNoneIsAUsageError(String text) {
    UsageException e = assertThrows(UsageException.class, () -> Lookahead.parse(text));
    assertTrue(e.getMessage().startsWith("lookahead " + text), e.getMessage());
    assertEquals(Lookahead.ALL, Lookahead.parse("all"));
    assertEquals(Lookahead.fixed(3), Lookahead.parse("3"));
  }

  @Test
  void whatAnAcceptMakesStaleIsReported() {
    Decay scorer =
        new Decay() {
          @Override
          public void dropped(List<CollapsePlan> plans) {
            asked.removeAll(plans);
          }
        };
    SearchResult result =
        new LayerCollapse(settings(4, 2, 1, 24), source(24), scorer, Lookahead.ALL)
            .run(0.8, (t, p) -> {});
    assertEquals(result.trials().size(), scorer.asked.size());
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

  @ParameterizedTest
  @ValueSource(ints = {1, 5, 9, 20})
  void aSpentBudgetStillReachesTheTarget(int sweeps) {
    Decay scorer = new Decay();
    SearchResult found =
        new LayerCollapse(settings(4, 1, 0, 16), source(16), scorer)
            .reach(7, SearchBudget.parse(sweeps + "sweeps"), (t, p) -> {});
    assertEquals(7, found.plan().depth());
    // The budget is looked at before a loop, and a loop that accepts everything is short.
    assertTrue(scorer.sweeps() <= sweeps + 13);
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
    assertUsage("mergeLayers", settings(1, 1, 0, 8));
    assertUsage("mergeLayers", settings(9, 1, 0, 8));
    assertUsage("interval", settings(4, 0, 0, 8));
    assertUsage("highest", settings(4, 1, 0, 9));
    assertUsage("highest", settings(4, 1, 0, 3));
    assertUsage("lowest", settings(4, 1, 5, 8));
    assertUsage("lowest", settings(4, 1, -1, 8));
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
