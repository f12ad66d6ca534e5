package dev.laco.prune;

import dev.laco.JobProgress;
import dev.laco.Seconds;
import dev.laco.apply.PlanTensors;
import dev.laco.backend.Backend;
import dev.laco.backend.MemoryArena;
import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.FitRule;
import dev.laco.collapse.KeptLayers;
import dev.laco.collapse.Neighbours;
import dev.laco.collapse.SearchResult;
import dev.laco.eval.PerplexityMeasure;
import dev.laco.fit.CarryOver;
import dev.laco.model.NewWeights;
import dev.laco.report.FitReport;
import dev.laco.run.JobEstimate;
import dev.laco.text.FitText;
import dev.laco.text.TextChunks;
import dev.laco.transformer.PlannedLayers;
import dev.laco.transformer.RunningModel;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;

/**
 * Chooses among the best models of a search and their neighbours: each is fitted on few tokens, and
 * the one that predicts documents best which are held out of all fits is fitted on the whole text.
 */
@SuppressWarnings("exports")
public final class FittedChoice {
  /** Models of a search that are fitted to choose among them. */
  private static final int CONTENDERS = 3;

  /** Tokens of the text that these fits use. */
  private static final int CHOICE_TOKENS = 8_192;

  /** Neighbours of the best contender that are fitted, too. */
  private static final int MOVES = 8;

  /** The time that the fit for one strength takes, relative to the fit of a neighbour. */
  private static final int STRENGTHS_WORTH = 2;

  /** Factors on the penalties of a fit that are tried on the best contender, beside 1. */
  private static final List<Double> STRENGTHS = List.of(0.3, 3.0);

  private static final String CHOICE = "choice";
  private static final String FIT = "fit";

  private final JobProgress job;
  private final String whose;
  private final RunningModel model;
  private final Backend backend;

  /**
   * A choice among models on a device.
   *
   * @param job is told of the stages
   * @param whose names the fit among those of the job; empty where the job has only one
   * @param model the original
   */
  public FittedChoice(JobProgress job, String whose, RunningModel model) {
    this.job = job;
    this.whose = whose;
    this.model = model;
    this.backend = model.backend();
  }

  /**
   * Expects the stages of a choice and its fit, each for the seconds that it is estimated to take.
   *
   * @param job is told of the stages
   * @param whose as for the constructor
   * @param neighbours as for {@link #run}
   * @param target layers that are left
   */
  public static void expect(
      JobProgress job,
      JobEstimate estimate,
      String whose,
      FitRule rule,
      boolean neighbours,
      FitText text,
      int target) {
    int quick = text.limit(CHOICE_TOKENS).tokens();
    int attempts = neighbours ? CONTENDERS + MOVES : 1;
    job.expect(
        stage(CHOICE, whose),
        estimate.choice(rule, attempts, 1 + strengths(rule).size(), quick, target));
    job.expect(stage(FIT, whose), estimate.fit(rule, text.tokens(), target));
  }

  private static String stage(String name, String whose) {
    return whose.isEmpty() ? name : name + ", " + whose;
  }

  /**
   * The chosen model.
   *
   * @param plan its layers
   * @param tensors its fitted weights; none where the best model of the search predicted better
   *     than any that was fitted
   * @param report how it was fitted
   */
  public record Outcome(CollapsePlan plan, NewWeights tensors, FitReport report) {
    /** The plan with the names of its new tensors, and the file that a checkpoint has them in. */
    public CollapsePlan planWithTensors() {
      return tensors.isEmpty()
          ? plan
          : plan.withTensors(new PlanTensors(tensors).named(PlanTensors.DEFAULT_FILE));
    }
  }

  /**
   * Chooses a model and fits it.
   *
   * @param found the models of a search
   * @param neighbours whether neighbours of these models are tried, too
   * @param rule how weights are fitted
   * @param text the text that they are fitted on
   * @param memory owner of the new tensors
   * @param listener is told of contenders, of each plan that is the best so far, and of fitted
   *     layers
   */
  public Outcome run(
      SearchResult found,
      boolean neighbours,
      FitRule rule,
      FitText text,
      MemoryArena memory,
      Consumer<PruneEvent> listener) {
    long start = System.nanoTime();
    List<FitReport.Contender> contenders = new ArrayList<>();
    CollapsePlan own = found.plan();
    add(contender(own, false, nll(own, NewWeights.NONE, text)), contenders, listener);
    List<CollapsePlan> fitted = contenders(found);
    int moves = neighbours ? MOVES : 0;
    Choice chosen = new Choice(fitted.getFirst(), 1, Double.POSITIVE_INFINITY);
    try (CarryOver quick = carryOver(text.limit(CHOICE_TOKENS));
        JobProgress.Stage progress = job.begin(stage(CHOICE, whose))) {
      int total = fitted.size() + moves + STRENGTHS_WORTH * (1 + strengths(rule).size());
      // Fits of the layers behind a gap take most of the time and hardly change the order of
      // models.
      FitRule cheap = rule.atGapsOnly();
      Set<CollapsePlan> tried = new HashSet<>(fitted);
      for (CollapsePlan plan : fitted) {
        Choice choice = attempt(quick, plan, cheap, 1, text);
        add(contender(plan, true, choice.nll), contenders, listener);
        chosen = chosen.or(choice);
        tell(listener, chosen, contenders);
        progress.update(contenders.size() - 1L, total);
      }
      for (CollapsePlan next = untried(chosen.plan, tried);
          next != null && tried.size() < fitted.size() + moves;
          next = untried(chosen.plan, tried)) {
        tried.add(next);
        Choice choice = attempt(quick, next, cheap, 1, text);
        add(contender(next, true, choice.nll), contenders, listener);
        chosen = chosen.or(choice);
        tell(listener, chosen, contenders);
        progress.update(tried.size(), total);
      }
      // The penalties that are best without Gauss-Newton steps are taken for the steps, too.
      chosen = strongest(quick, chosen.plan, rule.withoutSteps(), text);
    }
    double choiceSeconds = Seconds.since(start);
    if (!(chosen.nll < contenders.getFirst().meanNll())) {
      return new Outcome(
          own,
          NewWeights.NONE,
          report(
              rule,
              text.name(),
              0,
              chosen.strength,
              contenders,
              new CarryOver.Result(NewWeights.NONE, List.of(), List.of(), 1, List.of()),
              choiceSeconds,
              0));
    }
    listener.accept(PruneEvent.BetterModel.of(chosen.plan));
    try (CarryOver carryOver = carryOver(text);
        JobProgress.Stage progress = job.begin(stage(FIT, whose))) {
      CarryOver.Result result =
          carryOver.fit(
              chosen.plan,
              rule,
              chosen.strength,
              true,
              memory,
              (done, total) -> {
                progress.update(done, total);
                listener.accept(new PruneEvent.Fitted(done, total));
              });
      return new Outcome(
          chosen.plan,
          result.tensors(),
          report(
              rule,
              text.name(),
              text.tokens(),
              chosen.strength,
              contenders,
              result,
              choiceSeconds,
              Seconds.since(start) - choiceSeconds));
    }
  }

  private FitReport report(
      FitRule rule,
      String text,
      int tokens,
      double strength,
      List<FitReport.Contender> contenders,
      CarryOver.Result result,
      double choiceSeconds,
      double fitSeconds) {
    return new FitReport(
        rule,
        text,
        tokens,
        strength,
        backend.solver().name(),
        result.finalNorm(),
        choiceSeconds,
        fitSeconds,
        contenders,
        result.fitted(),
        result.leftAlone(),
        result.curve());
  }

  private static void add(
      FitReport.Contender contender,
      List<FitReport.Contender> contenders,
      Consumer<PruneEvent> listener) {
    contenders.add(contender);
    listener.accept(new PruneEvent.Compared(contender));
  }

  /** Tells of the best fitted model if it is better than the best model of the search as it is. */
  private static void tell(
      Consumer<PruneEvent> listener, Choice chosen, List<FitReport.Contender> contenders) {
    if (chosen.nll < contenders.getFirst().meanNll()) {
      listener.accept(PruneEvent.BetterModel.of(chosen.plan));
    }
  }

  /**
   * The contenders: the best models of a search, and in the last place the best model that lacks
   * one block of consecutive layers, unless it is among them. Of models that merge layers, the
   * contender is the model that keeps the same layers and removes the others.
   */
  static List<CollapsePlan> contenders(SearchResult found) {
    List<CollapsePlan> best =
        found.ranked().stream().map(scored -> scored.plan().skeleton()).distinct().toList();
    Set<CollapsePlan> contenders =
        new LinkedHashSet<>(best.subList(0, Math.min(best.size(), CONTENDERS - 1)));
    if (found.bestBlock() != null) {
      contenders.add(found.bestBlock().plan().skeleton());
    }
    best.stream().filter(_ -> contenders.size() < CONTENDERS).forEach(contenders::add);
    return List.copyOf(contenders);
  }

  /** The next neighbour of a model, or null where all have been tried. */
  private static @Nullable CollapsePlan untried(CollapsePlan plan, Set<CollapsePlan> tried) {
    return Neighbours.of(plan).stream()
        .filter(neighbour -> !tried.contains(neighbour))
        .findFirst()
        .orElse(null);
  }

  /** A model with the strength of regularisation with which it predicts best. */
  private Choice strongest(CarryOver quick, CollapsePlan plan, FitRule rule, FitText text) {
    Choice best = attempt(quick, plan, rule, 1, text);
    for (double strength : strengths(rule)) {
      best = best.or(attempt(quick, plan, rule, strength, text));
    }
    return best;
  }

  /** The strengths to try beside 1; none where a rule has no penalties. */
  private static List<Double> strengths(FitRule rule) {
    return rule.regularised() ? STRENGTHS : List.of();
  }

  /** A model fitted on few tokens, and its nll on the documents that are held out of every fit. */
  private record Choice(CollapsePlan plan, double strength, double nll) {
    Choice or(Choice other) {
      return other.nll < nll ? other : this;
    }
  }

  private Choice attempt(
      CarryOver quick, CollapsePlan plan, FitRule rule, double strength, FitText text) {
    try (MemoryArena scratch = new MemoryArena()) {
      CarryOver.Result result =
          quick.fit(plan, rule, strength, false, scratch, (done, total) -> {});
      double nll = nll(plan, result.tensors(), text);
      backend.release(List.copyOf(result.tensors().tensors().values()));
      return new Choice(plan, strength, nll);
    }
  }

  private CarryOver carryOver(FitText text) {
    return new CarryOver(model, text.chunks());
  }

  private static FitReport.Contender contender(CollapsePlan plan, boolean fitted, double nll) {
    return new FitReport.Contender(KeptLayers.of(plan).kept(), fitted, nll);
  }

  /** Mean nll of a model on the documents that are held out of every fit. */
  private double nll(CollapsePlan plan, NewWeights tensors, FitText text) {
    List<TextChunks.Chunk> chunks =
        TextChunks.whole(
            CarryOver.heldOut(text.chunks()).stream().map(FitText.Chunk::ids).toList());
    try (PlannedLayers layers = model.pruned(plan, tensors)) {
      return PerplexityMeasure.measure(layers.model(), chunks, (done, total) -> {}).meanNll();
    }
  }
}
