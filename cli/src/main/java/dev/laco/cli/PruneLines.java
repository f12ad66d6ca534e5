package dev.laco.cli;

import dev.laco.ByteSize;
import dev.laco.JobEvent;
import dev.laco.JobProgress;
import dev.laco.Model;
import dev.laco.Setting;
import dev.laco.apply.OutputFormat;
import dev.laco.apply.PlanApplier;
import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.KeptLayers;
import dev.laco.collapse.Objective;
import dev.laco.collapse.SearchResult;
import dev.laco.heal.HealEvent;
import dev.laco.prune.PruneEvent;
import dev.laco.prune.PruneResult;
import dev.laco.report.ChoiceReport;
import dev.laco.report.FitReport;
import dev.laco.report.PositionDivergence;
import dev.laco.report.PruneReport;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.SortedMap;
import java.util.function.Consumer;
import java.util.function.Function;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/** What people see of a prune: a line for each event, and the result. */
final class PruneLines implements Consumer<JobEvent> {
  private final Console console;
  private final BestSoFar best;
  private final SearchLines search;
  private final Model original;

  /** The lines of a job. */
  PruneLines(Console console, BestSoFar best, Model original) {
    this.console = console;
    this.best = best;
    this.original = original;
    this.search = new SearchLines(console);
  }

  @Override
  public void accept(JobEvent event) {
    switch (event) {
      case PruneEvent own -> say(own);
      case HealEvent own -> HealLines.say(console, own);
      case JobEvent.FileWritten written ->
          console.resultLine(
              "wrote",
              "%s: %s, was %s",
              written.path(),
              ByteSize.show(written.bytes()),
              ByteSize.show(original.checkpoint().storedBytes()));
      default -> JobLines.say(console, event);
    }
  }

  private void say(PruneEvent event) {
    switch (event) {
      case PruneEvent.CalibrationRead text ->
          console.line(
              "calibration",
              "%s: %d sentences, %,d tokens",
              text.name(),
              text.sentences(),
              text.tokens());
      case PruneEvent.SearchStarted started -> search.started(started);
      case PruneEvent.Tried tried -> search.tried(tried.trial());
      case PruneEvent.StagesExpected expected -> say(expected);
      case PruneEvent.QuickerRule quicker ->
          console.note(
              "quicker",
              Setting.of("rule")
                  + " "
                  + quicker.rule()
                  + ": about "
                  + JobProgress.about(quicker.seconds())
                  + " in all, by a smaller fit");
      case PruneEvent.BetterModel better -> best.set(better.plan(), better.tensors());
      case PruneEvent.Searched searched -> search.searched(searched);
      case PruneEvent.Compared _, PruneEvent.Fitted _ -> {
        // The bar shows how far the job is.
      }
      case PruneEvent.PlanGiven given ->
          console.line(
              "search", "none: the plan of %s, %d layers", given.file(), given.plan().depth());
      case PruneEvent.GoesOn goesOn ->
          console.line(
              "search",
              "none: search and fit of an earlier run are in %s, %d layers",
              goesOn.folder(),
              goesOn.plan().depth());
    }
  }

  private void say(PruneEvent.StagesExpected expected) {
    for (PruneEvent.ExpectedStage stage : expected.stages()) {
      console.note(
          "",
          String.format(
              Locale.ROOT,
              "%-20s %-12s %s",
              stage.name(),
              JobProgress.about(stage.seconds()),
              stage.what()));
    }
  }

  /** What came out, before it is written. */
  void result(PruneResult result) {
    PruneReport report = result.report();
    console.resultLine(
        "result",
        "%d → %d layers, %,d → %,d parameters, similarity %.4f",
        result.plan().source().layers(),
        result.plan().depth(),
        report.parametersIn(),
        report.parametersOut(),
        report.search().finalSimilarity());
    console.resultLine("layers", "%s", result.layers().describe());
    if (result.plan().isIdentity()) {
      console.plain("             no merge was accepted: the model is unchanged");
    }
    ChoiceReport choice = report.choice();
    if (choice != null) {
      say(choice, result);
    }
    FitReport fit = report.fit();
    if (fit != null) {
      sayIfOther(result, fit);
      say(fit);
    } else if (result.fitLacksText()) {
      console.line(
          "fit",
          "not done: the model has %s; --fit-text FILE.json gives token-id lists",
          original.missingTokenizer());
    }
    if (report.heal() != null) {
      say(report.heal());
    }
    sayQuality(report.quality());
  }

  /**
   * What the page says of the result, and whether its weights take more room than the original's.
   *
   * @param out what will be written; null for nothing
   * @param applier what will write it; null for nothing
   */
  void verdict(PruneReport report, @Nullable Path out, @Nullable PlanApplier applier) {
    long bytes = applier == null ? report.bytesOut() : applier.tensorBytes();
    if (report.quality() instanceof PruneReport.Measured measured && !report.plan().isIdentity()) {
      sayVerdict(report, measured, bytes);
    }
    long stored = original.checkpoint().storedBytes();
    boolean quantised = stored < original.checkpoint().weightBytes();
    // A GGUF file of all layers has the same tensors, of which some are no weights.
    boolean same = report.plan().isIdentity() && out != null && OutputFormat.isGguf(out);
    if (quantised && bytes > stored && !same) {
      sayLarger(bytes, out, applier);
    }
  }

  /** Why the result is larger than a quantised original, and what quantises it. */
  private void sayLarger(long bytes, @Nullable Path out, @Nullable PlanApplier applier) {
    String types = applier == null ? null : applier.types();
    console.resultLine(
        "size",
        "%s, more than the original's %s: %s",
        ByteSize.show(bytes),
        ByteSize.show(original.checkpoint().storedBytes()),
        types == null ? "a folder has no quantised weights" : types);
    if (out != null) {
      boolean gguf = OutputFormat.isGguf(out);
      Path file = gguf ? out : SideFiles.beside(out, ".gguf");
      console.plain(
          "             "
              + (gguf ? "" : "laco export " + Shell.quoted(out) + " " + Shell.quoted(file) + "; ")
              + "llama-quantize --allow-requantize "
              + Shell.quoted(file)
              + " SMALLER.gguf Q4_K_M (llama.cpp) quantises it");
    }
  }

  /** What the page says, in three lines. */
  private void sayVerdict(PruneReport report, PruneReport.Measured measured, long bytes) {
    double ratio = measured.pruned().perplexity() / measured.dense().perplexity();
    Verdict verdict = Verdict.of(measured);
    console.verdict(
        "verdict",
        verdict,
        String.format(
            Locale.ROOT,
            "%s: perplexity x%.3f with %d of %d layers, %s"
                + (bytes > report.model().bytes() ? ", was %s" : " of %s"),
            verdict.lowercase(),
            ratio,
            report.plan().depth(),
            report.plan().source().layers(),
            ByteSize.show(bytes),
            ByteSize.show(report.model().bytes())));
    SortedMap<Integer, List<SearchResult.Scored>> byDepth = report.search().byDepth();
    if (byDepth.size() > 1) {
      Objective objective = PrunePictures.objective(report.search().trials());
      List<Double> values = new ArrayList<>();
      byDepth.forEach(
          (depth, ranked) -> values.addFirst(objective.measured(ranked.getFirst().score())));
      console.plain(
          String.format(
              Locale.ROOT,
              "             %s %s of the best models of %d to %d layers, without a fit",
              Sparkline.of(values),
              objective.optionValue(),
              byDepth.lastKey(),
              byDepth.firstKey()));
    }
    List<PositionDivergence> positions = measured.byPosition();
    if (positions.size() > 1) {
      console.plain(
          String.format(
              Locale.ROOT,
              "             %s kl behind 1 to %,d tokens of a window, %.4f in the mean",
              Sparkline.of(positions.stream().map(PositionDivergence::divergence).toList()),
              positions.getLast().last() + 1,
              measured.fidelity().divergence()));
    }
  }

  /** What each stage gained, and what it cost. */
  private void say(PruneReport.Healing healing) {
    console.resultLine("nll", "held-out text: %.4f (dense)", healing.training().originalNll());
    for (PruneReport.Stage stage : healing.stages()) {
      console.plain(
          String.format(
              Locale.ROOT,
              "             %.4f after %s, %s",
              stage.nll(),
              stage.name(),
              JobProgress.exactly(stage.seconds())));
    }
  }

  private void say(ChoiceReport choice, PruneResult result) {
    CollapsePlan searched = result.searched();
    console.line(
        "choice",
        "the best %s of %d models on %s, %,d tokens: %.4f, %s",
        choice.objective().optionValue(),
        choice.contenders().size(),
        choice.text(),
        choice.tokens(),
        choice.chosen(),
        choice.chosen() == choice.searched()
            ? "that of the table"
            : String.format(
                Locale.ROOT,
                "that of the table, without %s, has %.4f",
                KeptLayers.ranges(KeptLayers.of(searched.skeleton()).removed()),
                choice.searched()));
  }

  /** The table of trials leads to the search's own model, which need not be the one written. */
  private void sayIfOther(PruneResult result, FitReport fit) {
    CollapsePlan searched = result.searched();
    if (!result.plan().skeleton().equals(searched.skeleton())) {
      console.plain(
          String.format(
              Locale.ROOT,
              "             chosen after a quick fit of %d models; that of the table, without %s,"
                  + " predicted worse",
              fit.contenders().stream().filter(FitReport.Contender::fitted).count(),
              KeptLayers.ranges(KeptLayers.of(searched.skeleton()).removed())));
    }
  }

  private void say(FitReport fit) {
    if (fit.tokens() == 0) {
      console.line(
          "fit", "left out: on documents held out the merged model predicts better without");
      return;
    }
    console.line(
        "fit",
        "%s of %d %s on %s, %,d tokens, by %s",
        fit.rule().label(),
        fit.rule().reconstructs() ? fit.layers() : fit.matrices().size(),
        fit.rule().reconstructs() ? "layers" : "matrices",
        fit.text(),
        fit.tokens(),
        fit.solver());
    sayChoice(fit.contenders());
    FitReport.Norms norms = fit.norms();
    if (norms != null) {
      console.plain(
          String.format(
              Locale.ROOT,
              "             norms from the first gap on trained on %,d tokens%s: loss %.4f → %.4f on"
                  + " documents held out",
              norms.tokens(),
              norms.kept() ? "" : ", and set back",
              norms.lossBefore(),
              norms.lossAfter()));
    }
    if (!fit.leftAlone().isEmpty()) {
      console.plain(
          "             tensors left as they are, since no change was found, or other text loses by"
              + " it: "
              + fit.leftAlone().size());
    }
    if (!fit.learningCurve().isEmpty()) {
      console.plain(
          String.format(
              Locale.ROOT,
              "             held-out error %s after %s tokens",
              joined(
                  fit.learningCurve(), point -> String.format(Locale.ROOT, "%.3f", point.error())),
              joined(
                  fit.learningCurve(),
                  point -> String.format(Locale.ROOT, "%,d", point.tokens()))));
    }
  }

  private void sayChoice(List<FitReport.Contender> contenders) {
    List<FitReport.Contender> fitted =
        contenders.stream().filter(FitReport.Contender::fitted).toList();
    if (fitted.isEmpty()) {
      return;
    }
    console.plain(
        String.format(
            Locale.ROOT,
            "             nll of documents held out %.3f, with a quick fit the best of %d models"
                + " %.3f",
            contenders.getFirst().meanNll(),
            fitted.size(),
            fitted.stream().mapToDouble(FitReport.Contender::meanNll).min().orElseThrow()));
  }

  private static <T> String joined(List<T> values, Function<T, String> text) {
    return values.stream().map(text).collect(Collectors.joining(", "));
  }

  private void sayQuality(PruneReport.Quality quality) {
    switch (quality) {
      case PruneReport.NotMeasured not ->
          console.resultLine("perplexity", "not measured: %s", not.reason());
      case PruneReport.Measured measured -> {
        double dense = measured.dense().perplexity();
        double pruned = measured.pruned().perplexity();
        console.resultLine(
            "perplexity",
            "%.2f → %.2f (%s, %,d tokens)",
            dense,
            pruned,
            measured.text(),
            measured.dense().tokens());
        if (Verdict.of(dense, pruned) == Verdict.DAMAGED) {
          console.warning(
              String.format(
                  Locale.ROOT,
                  "perplexity rose from %.2f to %.2f: this model is damaged. Try a higher"
                      + " --threshold or more layers, a smaller --merge-layers, another --rule, or"
                      + " a lower --highest, which spares the last layers",
                  dense,
                  pruned));
        }
      }
    }
  }
}
