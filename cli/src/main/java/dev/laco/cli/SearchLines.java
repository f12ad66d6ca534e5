package dev.laco.cli;

import dev.laco.collapse.BlockCost;
import dev.laco.collapse.BlockSettings;
import dev.laco.collapse.Objective;
import dev.laco.collapse.SearchResult;
import dev.laco.collapse.Trial;
import dev.laco.prune.PruneEvent;
import java.util.List;
import java.util.Locale;

/** What people see of a search: a line for each trial that counts. */
final class SearchLines {
  private final Console console;
  private boolean oneLoop;

  SearchLines(Console console) {
    this.console = console;
  }

  void started(PruneEvent.SearchStarted started) {
    oneLoop = started.oneLoop();
    if (oneLoop) {
      loopHeader();
    }
  }

  /** The trials of a loop can be told as they are decided. */
  void tried(Trial trial) {
    if (oneLoop) {
      sayOfLoop(trial);
    }
  }

  /** Of a search for a size, what led to its result. */
  void searched(PruneEvent.Searched searched) {
    SearchResult result = searched.result();
    Double threshold = result.threshold();
    if (oneLoop) {
      return;
    }
    if (threshold != null) {
      console.line(
          "search",
          "a depth of %d layers is reached at threshold %.6f",
          result.plan().depth(),
          threshold);
      loopHeader();
      result.trials().forEach(this::sayOfLoop);
    } else if (!result.blocks().isEmpty()) {
      sayBlocks(result);
    } else {
      console.line(
          "search",
          "the best of %,d models tried, by %s",
          result.trials().size(),
          searched.objective().optionValue());
      spanHeader(searched.objective());
      result.trials().stream().filter(Trial::accepted).forEach(this::sayOfSpans);
    }
  }

  /** Of a search in closed form, the blocks that the best model lacks. */
  private void sayBlocks(SearchResult result) {
    console.line(
        "search",
        "the cheapest removal of %d layers, in blocks, of which %,d were measured",
        result.plan().source().layers() - result.plan().depth(),
        result.blocks().size());
    console.plain("base  removed  unexplained  divergence         nll  depth");
    result.trials().stream()
        .filter(Trial::accepted)
        .forEach(trial -> sayOfBlocks(trial, result.blocks()));
  }

  private void sayOfBlocks(Trial trial, List<BlockCost> costs) {
    BlockSettings.Block block =
        new BlockSettings.Block(trial.base() + 1, trial.base() + 1 + trial.merged());
    BlockCost cost =
        costs.stream().filter(any -> any.block().equals(block)).findFirst().orElseThrow();
    console.plain(
        String.format(
            Locale.ROOT,
            "%4d  %7d  %11.4f  %10.4f  %10.6f  %5d",
            trial.base(),
            trial.merged(),
            cost.unexplained(),
            cost.divergence(),
            Objective.NLL.measured(trial.score()),
            trial.layersAfter()));
  }

  private void loopHeader() {
    console.plain("trial  base  merged  similarity  decision  depth");
  }

  private void sayOfLoop(Trial trial) {
    console.plain(
        String.format(
            Locale.ROOT,
            "%5d  %4d  %6d  %10.6f  %s  %5d",
            trial.step(),
            trial.base(),
            trial.merged(),
            trial.score().mean(),
            trial.accepted() ? "accepted" : "rejected",
            trial.layersAfter()));
  }

  private void spanHeader(Objective objective) {
    String extra =
        objective.needsLanguage()
            ? String.format(Locale.ROOT, "  %10s", objective.optionValue())
            : "";
    console.plain("trial  base  merged  rule     similarity" + extra + "  depth");
  }

  private void sayOfSpans(Trial trial) {
    Trial.Choice choice = trial.choice();
    if (choice == null) {
      throw new IllegalArgumentException("a trial of the paper's loop");
    }
    Objective objective = choice.objective();
    console.plain(
        String.format(
            Locale.ROOT,
            "%5d  %4d  %6d  %-7s  %10.6f%s  %5d",
            trial.step(),
            trial.base(),
            trial.merged(),
            choice.rule().label(),
            trial.score().mean(),
            objective.needsLanguage()
                ? String.format(Locale.ROOT, "  %10.6f", objective.measured(trial.score()))
                : "",
            trial.layersAfter()));
  }
}
