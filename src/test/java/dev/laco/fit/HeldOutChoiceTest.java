package dev.laco.fit;

import static org.junit.jupiter.api.Assertions.assertEquals;

import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.KeptLayers;
import dev.laco.collapse.MergeRule;
import dev.laco.collapse.NormsPolicy;
import dev.laco.collapse.Objective;
import dev.laco.collapse.Score;
import dev.laco.collapse.Scorer;
import dev.laco.collapse.SearchResult;
import dev.laco.collapse.SearchResult.Scored;
import dev.laco.report.ChoiceReport;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;

/** Which of the models of a search is taken where none is fitted. */
final class HeldOutChoiceTest {
  private static final CollapsePlan ORIGINAL =
      CollapsePlan.identity(new CollapsePlan.Source("LlamaForCausalLM", 6, "sha256:0"));
  private static final CollapsePlan FIRST = without(2);
  private static final CollapsePlan SECOND = without(3);
  private static final CollapsePlan PEER = without(5);

  private static CollapsePlan without(int layer) {
    return ORIGINAL.fold(layer - 1, 1, MergeRule.DROP, NormsPolicy.BASE);
  }

  /** A search that ranks two models, and a peer that it did not find; the peer stands twice. */
  private static final SearchResult FOUND =
      new SearchResult(
          null,
          Stream.of(FIRST, SECOND).map(plan -> new Scored(plan, Score.UNCHANGED)).toList(),
          null,
          List.of(SECOND, PEER),
          new TreeMap<>(),
          List.of(),
          List.of(),
          false);

  private static HeldOutChoice.Outcome choice(
      Objective objective, double first, double second, double peer) {
    Map<CollapsePlan, Double> measured = Map.of(FIRST, first, SECOND, second, PEER, peer);
    Scorer scorer =
        new Scorer() {
          @Override
          public List<Score> score(List<CollapsePlan> plans) {
            return plans.stream()
                .map(measured::get)
                .map(value -> scored(objective, value))
                .toList();
          }

          @Override
          public int sweeps() {
            return 0;
          }
        };
    return HeldOutChoice.among(FOUND, objective, "text", 10, scorer);
  }

  private static Score scored(Objective objective, double value) {
    return objective == Objective.COSINE
        ? new Score(List.of(value))
        : new Score(List.of(0.0), new Score.Language(value, value));
  }

  @Test
  void theBestOfSearchAndPeersOnTheText() {
    assertEquals(SECOND, choice(Objective.NLL, 3, 2, 2.5).plan());
    assertEquals(PEER, choice(Objective.KL, 3, 2, 1.5).plan());
    assertEquals(FIRST, choice(Objective.COSINE, 0.9, 0.2, 0.5).plan());
  }

  @Test
  void ofEqualModelsThatOfTheSearch() {
    assertEquals(FIRST, choice(Objective.NLL, 2, 2, 2).plan());
  }

  @Test
  void aModelThatCannotBeMeasuredIsNotTaken() {
    assertEquals(SECOND, choice(Objective.NLL, Double.NaN, 3, 4).plan());
    assertEquals(FIRST, choice(Objective.NLL, 2, Double.NaN, 3).plan());
    assertEquals(FIRST, choice(Objective.NLL, Double.NaN, Double.NaN, Double.NaN).plan());
  }

  @Test
  void theReportHasAllModelsAndWhatTheyWereMeasuredAt() {
    ChoiceReport report = choice(Objective.NLL, 3, 2.5, 2).report();
    assertEquals(
        Stream.of(FIRST, SECOND, PEER).map(plan -> KeptLayers.of(plan).kept()).toList(),
        report.contenders().stream().map(ChoiceReport.Contender::layers).toList());
    assertEquals(3, report.searched());
    assertEquals(2, report.chosen());
    assertEquals(0.9, choice(Objective.COSINE, 0.9, 0.2, 0.5).report().chosen());
  }
}
