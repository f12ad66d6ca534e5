package dev.laco.compare;

import dev.laco.Seconds;
import dev.laco.UsageException;
import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.MergeRule;
import dev.laco.collapse.Objective;
import dev.laco.collapse.Scorer;
import dev.laco.collapse.SearchBudget;
import dev.laco.collapse.SearchResult;
import dev.laco.collapse.SpanSearch;
import dev.laco.collapse.SpanSettings;
import dev.laco.collapse.TrialListener;
import dev.laco.collapse.peers.LayerRemoval;
import dev.laco.collapse.peers.SlidingWindow;
import dev.laco.model.ModelConfig;
import dev.laco.model.PackedSequences;
import dev.laco.prune.PeerModels;
import dev.laco.prune.SearchChoice;
import dev.laco.run.JobEstimate;
import dev.laco.scoring.StreamSimilarity;
import dev.laco.text.FitText;
import dev.laco.transformer.RunningModel;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;

/** Finds the layers that strategies keep of a model, for one size and with one text. */
final class LayerChoices {
  private final RunningModel model;
  private final CollapsePlan.Source source;
  private final PackedSequences sequences;
  private final Scorer scorer;
  private final @Nullable FitText fit;
  private final int target;

  /** What this engine's searches found, which strategies share: before a fit, and without. */
  private final Map<Boolean, Found> searched = new HashMap<>();

  /**
   * A model of the size.
   *
   * @param seconds that it took to find the model, for the first strategy that asked for it
   */
  record Found(SearchResult result, double seconds) {}

  LayerChoices(
      RunningModel model,
      CollapsePlan.Source source,
      PackedSequences sequences,
      Scorer scorer,
      @Nullable FitText fit,
      int target) {
    this.model = model;
    this.source = source;
    this.sequences = sequences;
    this.scorer = scorer;
    this.fit = fit;
    this.target = target;
  }

  /**
   * The model of the size that a strategy chooses.
   *
   * @param closedForm whether our own search chooses in closed form, for a fit
   * @throws dev.laco.UsageException if there is none
   */
  Found find(Strategy.Layers layers, boolean closedForm, TrialListener listener) {
    return switch (layers) {
      case Strategy.Search _ ->
          searched.computeIfAbsent(closedForm, _ -> timed(() -> search(closedForm, listener)));
      case Strategy.PaperLoop loop ->
          timed(
              () ->
                  SearchResult.known(
                      run(SearchChoice.paper(model.config(), target, loop.rule()), listener)
                          .plan()));
      case Strategy.Peer peer -> timed(() -> SearchResult.known(plan(peer, listener)));
    };
  }

  private static Found timed(Supplier<SearchResult> search) {
    long start = System.nanoTime();
    SearchResult result = search.get();
    return new Found(result, Seconds.since(start));
  }

  /**
   * Estimates how many seconds it takes to find the layers of a strategy.
   *
   * @param tokens of the calibration text
   * @param closedForm as for {@link #find}
   * @param fit the text of fits; null where there is none
   */
  static double seconds(
      JobEstimate estimate,
      ModelConfig config,
      Strategy.Layers layers,
      int target,
      boolean closedForm,
      long tokens,
      @Nullable FitText fit) {
    int depth = config.numHiddenLayers();
    return switch (layers) {
      case Strategy.Search _ ->
          SearchChoice.byDefault(config, target, closedForm).seconds(estimate, tokens, fit);
      case Strategy.PaperLoop loop ->
          SearchChoice.paper(config, target, loop.rule()).seconds(estimate, tokens, null);
      case Strategy.Peer peer ->
          switch (peer) {
            case SHORTGPT, ANGULAR -> estimate.layers(tokens, depth);
            case SLEB ->
                estimate.search(
                    slebSettings(depth).models(depth, target), target, Objective.NLL, tokens);
            // As the paper's loop, a search for the threshold of a size meets known scores mostly.
            case SLIDING_WINDOW ->
                estimate.search(4L * (depth - 1), target, Objective.COSINE, tokens);
            case LAST -> 0;
          };
    };
  }

  private SearchResult search(boolean closedForm, TrialListener listener) {
    SearchChoice usual = SearchChoice.byDefault(model.config(), target, closedForm);
    SearchResult result = run(usual, listener);
    PeerModels peers = usual.peers();
    return peers == null ? result : result.withPeers(peers.of(source, influence(), target));
  }

  private SearchResult run(SearchChoice chosen, TrialListener listener) {
    return chosen.search().run(new SearchChoice.Ground(model, source, scorer, fit), listener);
  }

  private CollapsePlan plan(Strategy.Peer peer, TrialListener listener) {
    return switch (peer) {
      case SHORTGPT -> LayerRemoval.leastInfluence(source, influence().blockInfluence(), target);
      case ANGULAR ->
          LayerRemoval.closestBlock(
              source, influence().angularDistances(source.layers() - target), target);
      case SLEB -> sleb(listener);
      case SLIDING_WINDOW -> {
        String why = model.config().whyNoMerge();
        if (why != null) {
          throw new UsageException("left out: " + why);
        }
        yield new SlidingWindow(source, scorer).reach(target);
      }
      case LAST -> LayerRemoval.lastButOne(source, target);
    };
  }

  private StreamSimilarity influence() {
    return StreamSimilarity.measure(model, sequences);
  }

  /**
   * Removes one layer at a time: the one without which the calibration text is most likely. The
   * first layer is never removed.
   */
  private CollapsePlan sleb(TrialListener listener) {
    return new SpanSearch(slebSettings(source.layers()), source, scorer)
        .reach(target, SearchBudget.UNLIMITED, listener)
        .plan();
  }

  private static SpanSettings slebSettings(int depth) {
    return new SpanSettings(2, 0, depth, List.of(MergeRule.DROP), null, Objective.NLL, 1);
  }
}
