package dev.laco.collapse;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.UsageException;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashSet;
import java.util.List;
import java.util.Optional;
import java.util.Random;
import java.util.Set;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

/** The search over spans and rules: what is tried, what is kept, and what comes out. */
final class SpanSearchTest {
  private static final int DEPTH = 10;
  private static final List<MergeRule> RULES =
      List.of(MergeRule.DROP, MergeRule.REPLACE, MergeRule.MEAN, MergeRule.rdsc(1));

  /** Scores that are arbitrary but fixed by the plan; remembers what it was asked. */
  private static final class Arbitrary implements Scorer {
    final List<List<CollapsePlan>> asked = new ArrayList<>();
    final List<List<CollapsePlan>> kept = new ArrayList<>();

    @Override
    public List<Score> score(List<CollapsePlan> plans) {
      asked.add(plans);
      return plans.stream().map(Arbitrary::score).toList();
    }

    static Score score(CollapsePlan plan) {
      Random random = new Random(plan.toJsonText().hashCode());
      return new Score(
          List.of(random.nextDouble(), random.nextDouble()),
          new Score.Language(3 + random.nextDouble(), random.nextDouble()));
    }

    @Override
    public void keep(List<CollapsePlan> plans) {
      kept.add(plans);
    }

    @Override
    public int sweeps() {
      return 1 + asked.size();
    }

    List<CollapsePlan> all() {
      return asked.stream().flatMap(List::stream).toList();
    }
  }

  /** The same score for every plan. */
  private record Constant(Score score) implements Scorer {
    @Override
    public List<Score> score(List<CollapsePlan> plans) {
      return plans.stream().map(plan -> score).toList();
    }

    @Override
    public int sweeps() {
      return 0;
    }
  }

  private static SpanSettings settings(int mergeLayers, int beamWidth) {
    return new SpanSettings(mergeLayers, 1, DEPTH, RULES, null, Objective.COSINE, beamWidth);
  }

  private static SearchResult reach(SpanSettings settings, Scorer scorer, int target) {
    return reach(settings, scorer, target, SearchBudget.UNLIMITED);
  }

  private static SearchResult reach(
      SpanSettings settings, Scorer scorer, int target, SearchBudget budget) {
    settings.check(DEPTH);
    return new SpanSearch(settings, source(), scorer).reach(target, budget, (trial, share) -> {});
  }

  private static CollapsePlan.Source source() {
    return new CollapsePlan.Source("LlamaForCausalLM", DEPTH, "sha256:0");
  }

  /** Every model of a depth that merges lead to. */
  private static Set<CollapsePlan> reachable(SpanSettings settings, int target) {
    Set<CollapsePlan> models = new HashSet<>(Set.of(CollapsePlan.identity(source())));
    Set<CollapsePlan> ends = new HashSet<>();
    while (!models.isEmpty()) {
      Set<CollapsePlan> next = new HashSet<>();
      for (CollapsePlan model : models) {
        for (int base = settings.lowest(); base < model.depth() - 1; base++) {
          int most = Math.min(settings.mergeLayers() - 1, model.depth() - base - 1);
          for (int m = 1; m <= Math.min(most, model.depth() - target); m++) {
            for (MergeRule rule : settings.rules()) {
              CollapsePlan plan = model.fold(base, m, rule, rule.defaultNorms());
              (plan.depth() == target ? ends : next).add(plan);
            }
          }
        }
      }
      models = next;
    }
    return ends;
  }

  @ParameterizedTest
  @EnumSource(Objective.class)
  void aBeamThatKeepsAllFindsTheBestOfAll(Objective objective) {
    SpanSettings settings =
        new SpanSettings(3, 5, DEPTH, RULES, null, objective, Integer.MAX_VALUE);
    SearchResult found = reach(settings, new Arbitrary(), DEPTH - 2);
    List<CollapsePlan> ranked =
        reachable(settings, DEPTH - 2).stream()
            .sorted(Comparator.comparingDouble(plan -> -objective.value(Arbitrary.score(plan))))
            .toList();
    assertEquals(ranked.getFirst(), found.plan());
    assertEquals(
        ranked.subList(0, found.ranked().size()),
        found.ranked().stream().map(SearchResult.Scored::plan).toList());
    assertTrue(found.ranked().size() > 1);
    assertEquals(Arbitrary.score(found.plan()), found.score());
  }

  @ParameterizedTest
  @CsvSource({"4, 1, 6", "4, 3, 6", "2, 2, 7", "6, 2, 2", "9, 1, 3"})
  void acceptedTrialsLeadToTheModel(int mergeLayers, int width, int target) {
    SearchResult found = reach(settings(mergeLayers, width), new Arbitrary(), target);
    assertEquals(target, found.plan().depth());
    CollapsePlan plan = CollapsePlan.identity(source());
    int parent = Trial.ORIGINAL;
    for (Trial trial : found.trials()) {
      assertTrue(trial.merged() < mergeLayers);
      if (trial.accepted()) {
        Trial.Choice choice = trial.choice();
        assertEquals(parent, choice.parent());
        assertEquals(plan.depth(), trial.layersBefore());
        plan = plan.fold(trial.base(), trial.merged(), choice.rule(), choice.rule().defaultNorms());
        assertEquals(Arbitrary.score(plan), trial.score());
        parent = trial.step();
      }
    }
    assertEquals(plan, found.plan());
  }

  @Test
  void everyDepthIsOneCallAndNoPlanIsScoredTwice() {
    Arbitrary scorer = new Arbitrary();
    reach(settings(4, 3), scorer, 5);
    // One for each depth from ten to six.
    assertEquals(5, scorer.asked.size());
    assertEquals(new HashSet<>(scorer.all()).size(), scorer.all().size());
    assertEquals(List.of(CollapsePlan.identity(source())), scorer.kept.getFirst());
    scorer.kept.forEach(beam -> assertTrue(beam.size() <= 3));
    assertEquals(3, scorer.kept.getLast().size());
  }

  @Test
  void aGreedySearchTakesTheBestModelOfEveryDepth() {
    Arbitrary scorer = new Arbitrary();
    SearchResult found = reach(settings(2, 1), scorer, 7);
    CollapsePlan current = CollapsePlan.identity(source());
    for (List<CollapsePlan> tried : scorer.asked) {
      assertEquals(List.of(current), scorer.kept.get(scorer.asked.indexOf(tried)));
      current =
          tried.stream()
              .max(Comparator.comparingDouble(plan -> Arbitrary.score(plan).mean()))
              .orElseThrow();
    }
    assertEquals(current, found.plan());
  }

  @Test
  void amongEqualsTheLowerBaseWinsThenFewerFollowersThenTheEarlierRule() {
    SearchResult found = reach(settings(3, 4), new Constant(new Score(List.of(0.5))), DEPTH - 1);
    assertEquals(
        CollapsePlan.identity(source()).fold(1, 1, MergeRule.DROP, NormsPolicy.BASE), found.plan());
    assertEquals(
        RULES.stream().map(MergeRule::label).toList(),
        found.trials().stream().limit(4).map(trial -> trial.choice().rule().label()).toList());
  }

  @Test
  void aScoreThatIsNotANumberIsTheWorst() {
    CollapsePlan only =
        CollapsePlan.identity(source()).fold(4, 1, MergeRule.MEAN, NormsPolicy.MERGE);
    Scorer broken =
        new Scorer() {
          @Override
          public List<Score> score(List<CollapsePlan> plans) {
            return plans.stream()
                .map(plan -> new Score(List.of(plan.equals(only) ? -0.9 : Double.NaN)))
                .toList();
          }

          @Override
          public int sweeps() {
            return 0;
          }
        };
    assertEquals(only, reach(settings(4, 1), broken, DEPTH - 1).plan());
  }

  @Test
  void layersOutsideTheRangeStayAsTheyAre() {
    Arbitrary scorer = new Arbitrary();
    SpanSettings settings = new SpanSettings(3, 2, 7, RULES, NormsPolicy.MERGE, Objective.KL, 2);
    reach(settings, scorer, settings.smallestDepth(DEPTH));
    for (CollapsePlan plan : scorer.all()) {
      for (int layer : new int[] {0, 1, 7, 8, 9}) {
        assertTrue(plan.layers().contains(LayerMix.original(layer)));
      }
    }
    assertTrue(scorer.all().stream().anyMatch(plan -> plan.depth() == 6));
  }

  /** Whole searches, and searches whose result is filled up. */
  @ParameterizedTest
  @ValueSource(strings = {"1sweeps", "99sweeps"})
  void alignedLayersKeepTheirPlaceInAPattern(String budget) {
    for (int period = 2; period <= 3; period++) {
      SpanSettings settings =
          new SpanSettings(period + 1, period, 0, DEPTH, RULES, null, Objective.COSINE, 2, true);
      Arbitrary scorer = new Arbitrary();
      int target = DEPTH - 2 * period;
      CollapsePlan found = reach(settings, scorer, target, SearchBudget.parse(budget)).plan();
      assertEquals(target, found.depth());
      for (CollapsePlan plan : Stream.concat(scorer.all().stream(), Stream.of(found)).toList()) {
        for (int layer = 0; layer < plan.depth(); layer++) {
          assertEquals(layer % period, plan.layers().get(layer).base() % period, plan::toString);
        }
      }
    }
  }

  @Test
  void aDepthOutOfReachIsAUsageErrorThatSaysWhatCanBeReached() {
    SpanSettings settings = new SpanSettings(3, 2, 7, RULES, null, Objective.COSINE, 2);
    UsageException e =
        assertThrows(UsageException.class, () -> reach(settings, new Arbitrary(), 5));
    assertTrue(e.getMessage().contains("the shallowest is 6 of 10"), e.getMessage());
  }

  @Test
  void theBestOfEveryDepthAndTheBestRemovalInOnePieceAreKept() {
    for (int target = 5; target < DEPTH; target++) {
      SpanSettings settings =
          new SpanSettings(
              2, 1, 1, DEPTH, List.of(MergeRule.DROP), null, Objective.COSINE, 3, true);
      Arbitrary scorer = new Arbitrary();
      SearchResult found = reach(settings, scorer, target);
      assertEquals(
          IntStream.range(target, DEPTH).boxed().toList(), List.copyOf(found.byDepth().keySet()));
      found
          .byDepth()
          .forEach(
              (depth, best) -> {
                assertEquals(
                    best(scorer.all().stream().filter(plan -> plan.depth() == depth)),
                    best.getFirst().plan());
                assertEquals(best, found.at(depth).orElseThrow().ranked());
              });
      assertEquals(found.ranked(), found.byDepth().get(target));
      assertEquals(Optional.empty(), found.at(target - 1));
      int removed = DEPTH - target;
      CollapsePlan block =
          best(
              IntStream.range(1, DEPTH - removed)
                  .mapToObj(
                      base ->
                          CollapsePlan.identity(source())
                              .fold(base, removed, MergeRule.DROP, NormsPolicy.BASE)));
      assertEquals(block, found.bestBlock().plan());
    }
  }

  private static CollapsePlan best(Stream<CollapsePlan> plans) {
    return plans
        .max(Comparator.comparingDouble(plan -> Arbitrary.score(plan).mean()))
        .orElseThrow();
  }

  @Test
  void theModelsOwnDepthNeedsNoSearch() {
    Arbitrary scorer = new Arbitrary();
    SearchResult found = reach(settings(4, 2), scorer, DEPTH);
    assertTrue(found.plan().isIdentity() && found.trials().isEmpty());
    assertEquals(1.0, found.finalSimilarity());
    assertEquals(0, scorer.asked.size());
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10})
  void aSpentBudgetStillGivesAModelOfTheSizeAskedFor(int sweeps) {
    for (int target = 2; target < DEPTH; target++) {
      Arbitrary scorer = new Arbitrary();
      SearchResult found =
          reach(settings(3, 2), scorer, target, SearchBudget.parse(sweeps + "sweeps"));
      assertEquals(target, found.plan().depth());
      // One more for a model that was filled up.
      assertTrue(scorer.sweeps() <= sweeps + 1);
      assertEquals(LayerMix.original(0), found.plan().layers().getFirst());
      assertEquals(Arbitrary.score(found.plan()), found.score());
    }
  }

  @Test
  void aModelIsFilledUpByTheBestMergesKnown() {
    // Every removed layer costs what its number says: the best known are the first that may go.
    Scorer front =
        new Scorer() {
          private int sweeps = 1;

          @Override
          public List<Score> score(List<CollapsePlan> plans) {
            sweeps++;
            return plans.stream().map(plan -> new Score(List.of(1 - cost(plan)))).toList();
          }

          private static double cost(CollapsePlan plan) {
            return IntStream.range(0, DEPTH)
                    .filter(layer -> plan.layers().stream().noneMatch(mix -> mix.base() == layer))
                    .sum()
                / 100.0;
          }

          @Override
          public int sweeps() {
            return sweeps;
          }
        };
    SpanSettings drop =
        new SpanSettings(2, 1, DEPTH, List.of(MergeRule.DROP), null, Objective.COSINE, 1);
    SearchResult found = reach(drop, front, 6, SearchBudget.parse("2sweeps"));
    assertEquals(
        List.of(0, 1, 3, 5, 7, 9), found.plan().layers().stream().map(LayerMix::base).toList());
  }

  @ParameterizedTest
  @ValueSource(strings = {"", "60", "s", "0s", "-1s", "1.5s", "40 sweeps", "0sweeps", "9999999s"})
  void whatIsNoBudgetIsAUsageError(String text) {
    UsageException e = assertThrows(UsageException.class, () -> SearchBudget.parse(text));
    assertTrue(e.getMessage().startsWith("searchBudget " + text + ": expected"));
  }

  @ParameterizedTest
  @CsvSource({"60s, 60", "2m, 120", "1h, 3600", "1h30m, 5400", "1h5s, 3605", "0m1s, 1"})
  void aTimeHasHoursMinutesAndSeconds(String text, double seconds) {
    assertEquals(new SearchBudget(seconds, Integer.MAX_VALUE), SearchBudget.parse(text));
  }

  @Test
  void theClockOfABudgetInSecondsRuns() {
    assertTrue(new SearchBudget(0, Integer.MAX_VALUE).start(new Arbitrary()).getAsBoolean());
    assertFalse(SearchBudget.parse("999s").start(new Arbitrary()).getAsBoolean());
  }

  @Test
  void theListenerHearsOfEveryTrialAndOfTheBestModelSoFar() {
    List<Trial> heard = new ArrayList<>();
    List<Integer> depths = new ArrayList<>();
    TrialListener listener =
        new TrialListener() {
          @Override
          public void onTrial(Trial trial, double progress) {
            assertTrue(progress > 0 && progress <= 1);
            heard.add(trial);
          }

          @Override
          public void onBest(CollapsePlan plan, Score score) {
            assertEquals(Arbitrary.score(plan), score);
            depths.add(plan.depth());
          }
        };
    SearchResult found =
        new SpanSearch(settings(4, 2), source(), new Arbitrary())
            .reach(5, SearchBudget.UNLIMITED, listener);
    assertEquals(found.trials().size(), heard.size());
    assertEquals(5, depths.getLast());
    assertEquals(depths.stream().sorted(Comparator.reverseOrder()).toList(), depths);
  }
}
