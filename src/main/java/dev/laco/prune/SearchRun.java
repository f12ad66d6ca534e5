package dev.laco.prune;

import dev.laco.JobProgress;
import dev.laco.Model;
import dev.laco.apply.PlanApplier;
import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.Scorer;
import dev.laco.collapse.SearchResult;
import dev.laco.collapse.Work;
import dev.laco.fit.HeldOutChoice;
import dev.laco.scoring.StreamSimilarity;
import dev.laco.scoring.SweepOptions;
import dev.laco.scoring.SweepScorer;
import dev.laco.text.FitText;
import dev.laco.transformer.RunningModel;
import java.util.function.Consumer;
import java.util.function.UnaryOperator;

/**
 * Finds the layers to remove or merge: by a search, then by a choice among its best models where
 * none is fitted.
 *
 * @param choice which search
 * @param scoring makes of the engine's scorer the one that compares models
 * @param told is told what the search finds
 */
record SearchRun(
    Model model,
    RunningModel running,
    SearchChoice choice,
    UnaryOperator<Scorer> scoring,
    JobProgress progress,
    Consumer<PruneEvent> told) {
  /**
   * The end of a search.
   *
   * @param work passes, bytes and operations that the search took
   */
  record Found(SearchResult result, Work work) {}

  /** Searches for the layers to remove or merge. */
  Found search(PruneTexts texts, SweepOptions sweep) {
    CollapsePlan.Source source = PlanApplier.source(model.checkpoint());
    Found found;
    try (SweepScorer scorer = new SweepScorer(running, source, texts.sequences(), sweep);
        JobProgress.Stage stage = progress.begin(PruneStages.SEARCH)) {
      told.accept(new PruneEvent.SearchStarted(choice.isOneLoop(), choice.objective()));
      SearchResult result =
          choice
              .search()
              .run(
                  new SearchChoice.Ground(running, source, scoring.apply(scorer), texts.fit()),
                  new PruneTelling(told).ofSearch(stage, choice.objective()));
      told.accept(new PruneEvent.Searched(result, choice.isOneLoop(), choice.objective()));
      found = new Found(result, scorer.work());
    }
    PeerModels peers = choice.peers();
    boolean chooses = texts.fit() != null || texts.choice() != null;
    if (peers == null || !chooses || found.result.plan().isIdentity()) {
      return found;
    }
    StreamSimilarity stream = StreamSimilarity.measure(running, texts.sequences());
    return new Found(
        found.result.withPeers(peers.of(source, stream, found.result.plan().depth())), found.work);
  }

  /** The layers of a plan that was given; nothing is searched. */
  Found given(GivenPlan from) {
    told.accept(new PruneEvent.PlanGiven(from.file(), from.plan()));
    return new Found(SearchResult.known(from.plan()), Work.NONE);
  }

  /** Chooses among the best models of a search, and those of other people's methods. */
  HeldOutChoice.Outcome choose(SearchResult found, FitText text, SweepOptions options) {
    try (SweepScorer scorer =
            new SweepScorer(
                running, found.plan().source(), HeldOutChoice.sequences(text), options);
        JobProgress.Stage _ = progress.begin(PruneStages.CHOICE)) {
      return HeldOutChoice.among(
          found, choice.objective(), text.name(), text.tokens(), scoring.apply(scorer));
    }
  }
}
