package dev.laco.cli;

import dev.laco.apply.PlanTensors;
import dev.laco.backend.Backend;
import dev.laco.backend.MemoryArena;
import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.SearchResult;
import dev.laco.eval.Perplexity;
import dev.laco.fit.CarryOver;
import dev.laco.fit.FitRule;
import dev.laco.model.ModelConfig;
import dev.laco.model.NewWeights;
import dev.laco.model.PackedSequences;
import dev.laco.model.TensorSource;
import dev.laco.report.FitReport;
import dev.laco.scoring.ModelScore;
import dev.laco.scoring.PlannedLayers;
import dev.laco.text.FitText;
import dev.laco.text.TextWindows;
import dev.laco.transformer.CausalLm;
import java.lang.foreign.SegmentAllocator;
import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;

/**
 * Fits the best models of a search, and keeps the one that predicts best on documents that no fit
 * has seen.
 */
final class FitRun {
  /** Models of a search that are fitted to choose among them, and the tokens for that. */
  private static final int CONTENDERS = 4;

  private static final int CHOICE_TOKENS = 16_384;

  private final Console console;
  private final OpenModel model;
  private final Backend backend;
  private final TensorSource weights;

  FitRun(Console console, OpenModel model, Backend backend, TensorSource weights) {
    this.console = console;
    this.model = model;
    this.backend = backend;
    this.weights = weights;
  }

  /**
   * The model that was kept.
   *
   * @param tensors none where no fit did better than the search's own model
   */
  record Outcome(CollapsePlan plan, NewWeights tensors, FitReport report) {
    /** The model as a result of the search, scored as it is. */
    SearchResult.Finalist finalist(
        Backend backend, ModelConfig config, TensorSource weights, PackedSequences calibration) {
      try (PlannedLayers layers =
          new PlannedLayers(backend, config, weights, plan, dtype -> dtype)) {
        layers.use(plan, tensors);
        return new SearchResult.Finalist(
            tensors.isEmpty()
                ? plan
                : plan.withTensors(new PlanTensors(tensors).named(PlanTensors.FILE)),
            ModelScore.of(CausalLm.of(backend, config, weights), layers.model(), calibration));
      }
    }
  }

  /**
   * Fits.
   *
   * @param finalists of the search, best first
   * @param memory owner of the new tensors
   */
  Outcome run(
      List<SearchResult.Finalist> finalists, FitRule rule, FitText text, MemoryArena memory) {
    List<FitReport.Contender> contenders = new ArrayList<>();
    CollapsePlan own = finalists.getFirst().plan();
    contenders.add(contender(own, false, nll(own, NewWeights.NONE, text)));
    Set<CollapsePlan> skeletons = new LinkedHashSet<>();
    finalists.forEach(finalist -> skeletons.add(finalist.plan().skeleton()));
    List<CollapsePlan> fitted = skeletons.stream().limit(CONTENDERS).toList();
    CollapsePlan best = fitted.getFirst();
    double least = Double.POSITIVE_INFINITY;
    try (CarryOver quick = carryOver(text.limit(CHOICE_TOKENS));
        ProgressLine progress = console.progress("fit, choice")) {
      for (int i = 0; i < fitted.size(); i++) {
        CollapsePlan plan = fitted.get(i);
        int before = i;
        try (MemoryArena scratch = new MemoryArena()) {
          CarryOver.Result result =
              quick.fit(
                  plan,
                  rule,
                  false,
                  in(scratch),
                  (done, total) -> progress.update(before * total + done, fitted.size() * total));
          double nll = nll(plan, result.tensors(), text);
          backend.release(List.copyOf(result.tensors().tensors().values()));
          contenders.add(contender(plan, true, nll));
          if (nll < least) {
            least = nll;
            best = plan;
          }
        }
      }
    }
    if (!(least < contenders.getFirst().meanNll())) {
      return new Outcome(
          own,
          NewWeights.NONE,
          new FitReport(rule, text.name(), 0, contenders, List.of(), List.of()));
    }
    try (CarryOver carryOver = carryOver(text);
        ProgressLine progress = console.progress("fit")) {
      CarryOver.Result result = carryOver.fit(best, rule, true, in(memory), progress::update);
      return new Outcome(
          best,
          result.tensors(),
          new FitReport(
              rule, text.name(), text.tokens(), contenders, result.fitted(), result.curve()));
    }
  }

  private CarryOver carryOver(FitText text) {
    return new CarryOver(backend, model.config(), weights, text.windows());
  }

  private static SegmentAllocator in(MemoryArena memory) {
    return (bytes, alignment) -> memory.allocate(bytes);
  }

  private static FitReport.Contender contender(CollapsePlan plan, boolean fitted, double nll) {
    return new FitReport.Contender(
        plan.layers().stream().map(mix -> mix.base()).toList(), fitted, nll);
  }

  /** On the documents that are held out of every fit. */
  private double nll(CollapsePlan plan, NewWeights tensors, FitText text) {
    List<TextWindows.Window> windows =
        TextWindows.whole(
            CarryOver.heldOut(text.windows()).stream().map(FitText.Window::ids).toList());
    try (PlannedLayers layers =
        new PlannedLayers(backend, model.config(), weights, plan, dtype -> dtype)) {
      layers.use(plan, tensors);
      return Perplexity.measure(layers.model(), windows, (done, total) -> {}).meanNll();
    }
  }
}
