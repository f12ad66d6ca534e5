package dev.laco.cli;

import dev.laco.collapse.NormsPolicy;
import dev.laco.collapse.Objective;
import dev.laco.prune.Goal;
import dev.laco.prune.SearchSettings;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.ArgGroup;
import picocli.CommandLine.Option;

/** What is searched for, and how. */
@HelpSection.In(HelpSection.SEARCH)
final class SearchOptions {
  @ArgGroup @Nullable ThresholdOrSize goal;

  @Option(
      names = "--search",
      paramLabel = "laco|greedy|beam|blocks",
      description =
          "How a size is searched for. laco: the paper's loop, with the threshold that leads to the size."
              + " greedy: the best next merge, one after another. beam: several best models at every depth."
              + " blocks: before a fit, the blocks of layers whose work the layer in front can do best, in"
              + " closed form. Default: laco with --threshold; blocks before a fit, unless an option of"
              + " another search is given, such as --search-budget or --objective; else beam.")
  SearchSettings.@Nullable Strategy strategy;

  @Option(
      names = "--search-budget",
      paramLabel = "2m|40sweeps",
      description =
          "End a search for a size after that time (90s, 2m, 1h30m), or so many passes over the model, with the best"
              + " found. Default: none.")
  @Nullable String budget;

  @Option(
      names = "--objective",
      paramLabel = "cosine|kl|nll",
      description =
          "What greedy and beam make as good as they can on the calibration text: similarity of the last hidden states,"
              + " divergence of the next token's distribution from the original's, or its negative log-likelihood."
              + " Default: nll.")
  @Nullable Objective objective;

  @Option(
      names = "--lookahead",
      paramLabel = "K|all",
      description =
          "Candidates that the paper's loop scores in one pass: the next and those that follow if it is rejected."
              + " Changes no decision. Default: as many as pay on this device.")
  @Nullable String lookahead;

  @Option(
      names = "--merge-layers",
      paramLabel = "C",
      description =
          "Layers merged at once, base included. Default: of the paper's loop 4, or the depth if that is"
              + " less; of other searches 2, or one more than --align.")
  @Nullable Integer mergeLayers;

  @Option(
      names = "--align",
      paramLabel = "PERIOD",
      description =
          "Remove layers in multiples of PERIOD, so that each layer keeps its place in a pattern of that period, such"
              + " as one of attention types (Gemma 2: 2, Gemma 3: 6). Default: 1.")
  @Nullable Integer align;

  @Option(
      names = "--interval",
      paramLabel = "I",
      description =
          "Layers that the base of the paper's loop moves down after an accepted merge. Default: 2.")
  @Nullable Integer interval;

  @Option(names = "--lowest", paramLabel = "L", description = "Lowest base layer. Default: 1.")
  @Nullable Integer lowest;

  @Option(
      names = "--highest",
      paramLabel = "H",
      description =
          "Exclusive end of the layers that are merged: the loop's first base is H - C. Default: the depth.")
  @Nullable Integer highest;

  @HelpSection.In(HelpSection.RULE)
  @Option(
      names = "--rule",
      paramLabel = "RULE",
      completionCandidates = Rules.class,
      description =
          "How layers are merged, or removed and what is left fitted to the original. Default: auto; of the paper's"
              + " loop replace. The rules, and what they cost after the search: each + is dearer.")
  @Nullable String rule;

  @HelpSection.In(HelpSection.RULE)
  @Option(
      names = "--norms",
      paramLabel = "base|merge",
      description =
          "Norms and biases: keep the base's, or merge them like matrices. Default: the rule's.")
  @Nullable NormsPolicy norms;

  /** When the search is done: at a threshold, or at a size. */
  @HelpSection.In(HelpSection.SIZE)
  static final class ThresholdOrSize extends TargetSize {
    @Option(
        names = "--threshold",
        paramLabel = "T",
        description = "Accept merges of mean similarity above T, -1 to 1: the paper's loop.")
    @Nullable Double threshold;
  }

  /** What ends the search. */
  Goal goal() {
    if (goal == null) {
      return Goal.QUARTER;
    }
    return goal.threshold != null ? Goal.threshold(goal.threshold) : goal.goal();
  }

  /** How it is searched. */
  SearchSettings settings() {
    return new SearchSettings(
        strategy,
        budget,
        objective,
        lookahead,
        mergeLayers,
        align,
        interval,
        lowest,
        highest,
        norms);
  }
}
