package dev.laco.collapse;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.UsageException;
import dev.laco.collapse.BlockSettings.Block;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Random;
import java.util.Set;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** The search for the cheapest blocks, against a look at every removal there is. */
final class BlockSearchTest {
  private static final int DEPTH = 10;

  /** Knows the depth of every model alone, and remembers what it was asked. */
  private static final class Depths implements Scorer {
    final List<CollapsePlan> asked = new ArrayList<>();

    @Override
    public List<Score> score(List<CollapsePlan> plans) {
      asked.addAll(plans);
      return plans.stream()
          .map(plan -> new Score(List.of(1.0), new Score.Language(plan.depth(), null)))
          .toList();
    }

    @Override
    public int sweeps() {
      return 0;
    }
  }

  /** Layers that are removed, and what that costs. */
  private record Removal(List<Integer> layers, double cost) {}

  private static SearchResult search(
      BlockSettings settings, List<BlockCost> costs, Scorer scorer, List<Trial> told) {
    CollapsePlan.Source source = new CollapsePlan.Source("LlamaForCausalLM", DEPTH, "sha256:0");
    settings.check(DEPTH);
    return new BlockSearch(settings, source, scorer)
        .run(costs, (trial, progress) -> told.add(trial));
  }

  private static List<BlockCost> costs(BlockSettings settings, Random random) {
    return IntStream.rangeClosed(0, DEPTH)
        .boxed()
        .flatMap(layer -> settings.to(layer).stream())
        .map(block -> new BlockCost(block, 0.5, random.nextDouble()))
        .toList();
  }

  @ParameterizedTest
  @CsvSource({"1,10,1,1", "1,10,1,4", "0,10,1,6", "2,8,1,3", "1,10,2,4", "0,9,3,6", "1,10,1,8"})
  void theCheapestRemovalsOfAllAreFound(int lowest, int highest, int align, int removed) {
    BlockSettings settings = new BlockSettings(lowest, highest, align, removed);
    for (int seed = 0; seed < 20; seed++) {
      List<BlockCost> costs = costs(settings, new Random(seed));
      SearchResult result = search(settings, costs, new Depths(), new ArrayList<>());
      List<Removal> all = everyRemoval(settings, costs);
      assertEquals(
          best(all),
          result.ranked().stream().map(scored -> KeptLayers.of(scored.plan()).removed()).toList());
      assertEquals(costs, result.blocks());
    }
  }

  @Test
  void costsGiveTheModelsOfEverySmallerRemovalToo() {
    BlockSettings settings = new BlockSettings(1, DEPTH, 1, 6);
    CollapsePlan.Source source = new CollapsePlan.Source("LlamaForCausalLM", DEPTH, "sha256:0");
    List<BlockCost> costs = costs(settings, new Random(5));
    for (int removed = 1; removed <= 6; removed++) {
      List<Removal> all = everyRemoval(new BlockSettings(1, DEPTH, 1, removed), costs);
      assertEquals(
          best(all),
          BlockSearch.cheapest(settings, source, costs, removed).stream()
              .map(plan -> KeptLayers.of(plan).removed())
              .toList());
    }
  }

  /** Where the cheapest model lacks all needed layers, the cheapest that has one is found. */
  @ParameterizedTest
  @CsvSource({"1,1,4", "1,2,6", "1,3,8", "2,1,6"})
  void aNeededLayerStays(int align, int needed, int removed) {
    int lacked = 0;
    for (int seed = 0; seed < 40; seed++) {
      Random random = new Random(seed);
      Set<Integer> layers =
          random.ints(2, DEPTH).distinct().limit(needed).boxed().collect(Collectors.toSet());
      BlockSettings settings = new BlockSettings(0, DEPTH, align, removed, layers);
      List<BlockCost> costs = costs(settings, random);
      List<Removal> all = everyRemoval(settings, costs);
      lacked += all.getFirst().layers.containsAll(layers) ? 1 : 0;
      all.removeIf(removal -> removal.layers.containsAll(layers));
      SearchResult result = search(settings, costs, new Depths(), new ArrayList<>());
      assertEquals(
          best(all).getFirst(), KeptLayers.of(result.ranked().getFirst().plan()).removed());
      for (SearchResult.Scored scored : result.ranked()) {
        assertFalse(KeptLayers.of(scored.plan()).removed().containsAll(layers), layers::toString);
      }
    }
    assertTrue(lacked > 0, "the cheapest removals of all leave needed layers, too");
  }

  /** A model of one layer has that layer alone. */
  @Test
  void neededLayersAreRemovedWhereNothingElseIsLeft() {
    BlockSettings settings = new BlockSettings(0, DEPTH, 1, DEPTH - 1, Set.of(4, 7));
    SearchResult result =
        search(settings, costs(settings, new Random(1)), new Depths(), new ArrayList<>());
    assertEquals(List.of(0), KeptLayers.of(result.ranked().getFirst().plan()).kept());
  }

  /**
   * The first of some removals, and at most two others that cost at most 15 % more where it costs
   * 0.025 nats or more.
   */
  private static List<List<Integer>> best(List<Removal> all) {
    double limit = 1.15 * all.getFirst().cost;
    return all.stream()
        .limit(all.getFirst().cost < 0.025 ? 1 : 3)
        .takeWhile(removal -> removal.cost <= limit)
        .map(Removal::layers)
        .toList();
  }

  /** Every set of so many layers whose runs are blocks of the settings, the cheapest first. */
  private static List<Removal> everyRemoval(BlockSettings settings, List<BlockCost> costs) {
    Map<Block, Double> byBlock = new HashMap<>();
    costs.forEach(cost -> byBlock.put(cost.block(), cost.divergence()));
    List<Removal> all = new ArrayList<>();
    for (int set = 0; set < 1 << DEPTH; set++) {
      if (Integer.bitCount(set) != settings.removed()) {
        continue;
      }
      int removed = set;
      double cost = 0;
      int blocks = 0;
      for (int from = 0; from < DEPTH; from++) {
        int to = from;
        while (to < DEPTH && (removed >> to & 1) == 1) {
          to++;
        }
        if (to > from) {
          cost += byBlock.getOrDefault(new Block(from, to), Double.POSITIVE_INFINITY);
          blocks++;
          from = to;
        }
      }
      if (Double.isFinite(cost)) {
        all.add(
            new Removal(
                IntStream.range(0, DEPTH)
                    .filter(layer -> (removed >> layer & 1) == 1)
                    .boxed()
                    .toList(),
                cost * (1 + 0.03 * (blocks - 1))));
      }
    }
    all.sort(Comparator.comparingDouble(Removal::cost));
    return all;
  }

  @Test
  void aTrialForEachBlockLeadsToEachModel() {
    BlockSettings settings = new BlockSettings(1, DEPTH, 1, 4);
    Depths scorer = new Depths();
    List<Trial> told = new ArrayList<>();
    SearchResult result = search(settings, costs(settings, new Random(3)), scorer, told);
    assertEquals(told, result.trials());
    assertEquals(scorer.asked.size(), told.size());
    List<CollapsePlan> models = new ArrayList<>();
    for (Trial trial : told) {
      Trial.Choice choice = Objects.requireNonNull(trial.choice());
      CollapsePlan parent =
          choice.parent() == Trial.ORIGINAL
              ? CollapsePlan.identity(result.plan().source())
              : models.get(choice.parent());
      assertEquals(parent.depth(), trial.layersBefore());
      models.add(parent.fold(trial.base(), trial.merged(), MergeRule.DROP, NormsPolicy.BASE));
      Score.Language language = Objects.requireNonNull(trial.score().language());
      assertEquals(models.getLast().depth(), language.nll());
    }
    result.ranked().forEach(scored -> assertTrue(models.contains(scored.plan())));
    Trial last = told.stream().filter(Trial::accepted).reduce((a, b) -> b).orElseThrow();
    assertEquals(result.plan(), models.get(last.step()));
  }

  @Test
  void aCostThatIsNoNumberIsTheHighest() {
    BlockSettings settings = new BlockSettings(1, DEPTH, 1, 2);
    List<BlockCost> costs =
        costs(settings, new Random(1)).stream()
            .map(
                cost ->
                    cost.block().equals(new Block(4, 6))
                        ? cost
                        : new BlockCost(cost.block(), 0, Double.NaN))
            .toList();
    SearchResult result = search(settings, costs, new Depths(), new ArrayList<>());
    assertEquals(List.of(4, 5), KeptLayers.of(result.plan()).removed());
  }

  @Test
  void moreLayersThanTheLimitsHoldAreRefusedWithTheSmallestDepth() {
    UsageException e =
        assertThrows(UsageException.class, () -> new BlockSettings(2, 8, 1, 6).check(DEPTH));
    assertEquals(
        "a depth of 4 layers is out of reach with these settings: the shallowest is 5 of 10; lower"
            + " lowest, raise highest, or ask for 5 or more",
        e.getMessage());
  }
}
