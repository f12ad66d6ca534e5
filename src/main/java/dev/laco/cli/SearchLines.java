package dev.laco.cli;

import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.Objective;
import dev.laco.collapse.Score;
import dev.laco.collapse.SearchResult;
import dev.laco.collapse.Trial;
import dev.laco.collapse.TrialListener;
import java.util.Locale;

/**
 * What people see of a search: progress while it goes on, and a line for each trial that counts.
 */
final class SearchLines {
  static final String STAGE = "search";
  private static final int PROGRESS_STEPS = 1000;

  private final Console console;
  private final BestSoFar best;

  SearchLines(Console console, BestSoFar best) {
    this.console = console;
    this.best = best;
  }

  /** Runs a loop whose trials can be told as they are decided. */
  SearchResult follow(SearchRun search) {
    loopHeader();
    return run(search, Objective.COSINE, this::sayOfLoop);
  }

  /** Runs a search for a size, and tells afterwards what led to it. */
  SearchResult summarise(SearchRun search, Objective objective) {
    SearchResult result = run(search, objective, trial -> {});
    Double threshold = result.threshold();
    if (threshold != null) {
      console.line(
          "search",
          "a depth of %d layers is reached at threshold %.6f",
          result.plan().depth(),
          threshold);
      loopHeader();
      result.trials().forEach(this::sayOfLoop);
    } else {
      console.line(
          "search",
          "the best of %,d models tried, by %s",
          result.trials().size(),
          objective.optionValue());
      spanHeader(objective);
      result.trials().stream().filter(Trial::accepted).forEach(this::sayOfSpans);
    }
    return result;
  }

  /** A search that only lacks somebody to tell. */
  @FunctionalInterface
  interface SearchRun {
    SearchResult run(TrialListener listener);
  }

  /** Told of every trial. */
  @FunctionalInterface
  private interface TrialLine {
    void say(Trial trial);
  }

  private SearchResult run(SearchRun search, Objective objective, TrialLine line) {
    try (JobProgress.Stage progress = console.progress(STAGE)) {
      return search.run(
          new TrialListener() {
            @Override
            public void onTrial(Trial trial, double share) {
              line.say(trial);
              progress.update(Math.round(share * PROGRESS_STEPS), PROGRESS_STEPS);
            }

            @Override
            public void onBest(CollapsePlan plan, Score score) {
              best.set(plan);
              progress.note(
                  String.format(
                      Locale.ROOT,
                      "%d layers, %s %.4f",
                      plan.depth(),
                      objective.optionValue(),
                      objective.measured(score)));
            }
          });
    }
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
