package dev.laco.fit;

import dev.laco.Seconds;
import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.KeptLayers;
import dev.laco.collapse.Objective;
import dev.laco.collapse.Score;
import dev.laco.collapse.Scorer;
import dev.laco.collapse.SearchResult;
import dev.laco.collapse.SearchResult.Scored;
import dev.laco.model.ModelConfig;
import dev.laco.model.PackedSequences;
import dev.laco.report.ChoiceReport;
import dev.laco.scoring.SweepOptions;
import dev.laco.scoring.SweepScorer;
import dev.laco.text.FitText;
import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;

/**
 * Chooses among the best models of a search and those of other people's methods where no weights
 * are fitted: by the objective of the search, on text that the search has not seen. A search that
 * compares thousands of models on a few hundred tokens finds models that suit these tokens.
 */
public final class HeldOutChoice {
  /** The best models of a search among which is chosen. */
  private static final int BEST = 4;

  /** The most models among which is chosen: those of a search, and those of two other methods. */
  public static final int MOST = BEST + 2;

  /** Tokens of a text that suffice. */
  public static final int TOKENS = 4_096;

  /** Tokens where time is short. */
  public static final int FEW_TOKENS = 2_048;

  private HeldOutChoice() {}

  /** The chosen model, and among which it was chosen. */
  public record Outcome(CollapsePlan plan, ChoiceReport report) {}

  /** A text as the sequences that models are scored on. */
  public static PackedSequences sequences(FitText text) {
    return PackedSequences.of(text.chunks().stream().map(FitText.Chunk::ids).toList());
  }

  /**
   * What a pass of the choice carries: what goes into the memory that the search had.
   *
   * @param search what a pass of the search carries
   * @param tokens tokens of the search
   */
  public static SweepOptions options(ModelConfig config, SweepOptions search, long tokens) {
    return new SweepOptions(
        MOST, SweepScorer.bytes(config, tokens, search), search.objective(), search.passCost());
  }

  /**
   * Chooses the best model; of equal ones, the first.
   *
   * @param name names the text for people
   * @param tokens tokens of the text
   * @param scorer scores models on the text
   */
  public static Outcome among(
      SearchResult found, Objective objective, String name, int tokens, Scorer scorer) {
    long start = System.nanoTime();
    Set<CollapsePlan> models = new LinkedHashSet<>();
    found.ranked().stream().limit(BEST).map(Scored::plan).forEach(models::add);
    models.addAll(found.peers());
    List<CollapsePlan> plans = List.copyOf(models);
    List<Score> scores = scorer.score(plans);
    List<ChoiceReport.Contender> contenders = new ArrayList<>();
    CollapsePlan best = plans.getFirst();
    double highest = Double.NEGATIVE_INFINITY;
    for (int i = 0; i < plans.size(); i++) {
      contenders.add(
          new ChoiceReport.Contender(
              KeptLayers.of(plans.get(i)).kept(), objective.measured(scores.get(i))));
      double value = objective.value(scores.get(i));
      if (value > highest) {
        best = plans.get(i);
        highest = value;
      }
    }
    return new Outcome(
        best, new ChoiceReport(objective, name, tokens, Seconds.since(start), contenders));
  }
}
