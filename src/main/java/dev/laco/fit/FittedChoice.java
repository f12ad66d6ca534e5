package dev.laco.fit;

import dev.laco.JobProgress;
import dev.laco.Seconds;
import dev.laco.backend.Backend;
import dev.laco.backend.MemoryArena;
import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.FitRule;
import dev.laco.collapse.KeptLayers;
import dev.laco.collapse.Neighbours;
import dev.laco.collapse.RemovalLimits;
import dev.laco.collapse.SearchResult;
import dev.laco.model.ModelConfig;
import dev.laco.model.NewWeights;
import dev.laco.report.FitReport;
import dev.laco.text.FitText;
import dev.laco.transformer.RunningModel;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashSet;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;

/**
 * Chooses among the best models of a search and their neighbours: each is fitted on few tokens, and
 * the one that predicts documents best which are held out of all fits is fitted on the whole text.
 */
public final class FittedChoice {
  /** Models of a search that are fitted to choose among them. */
  private static final int CONTENDERS = 3;

  /** The most models of other people's methods that are fitted beside them. */
  private static final int PEERS = 2;

  /** Neighbours of the best contender that are fitted, too. */
  private static final int MOVES = 8;

  /** The time that the fit for one strength takes, relative to the fit of a neighbour. */
  private static final int STRENGTHS_WORTH = 2;

  /** The share by which the nll of a model after a quick fit counts as larger for each gap. */
  private static final double GAP = 0.003;

  private final JobProgress job;
  private final String whose;
  private final RunningModel model;
  private final Listener listener;

  /**
   * A choice among models on a device.
   *
   * @param job is told of the stages {@link #choiceStage} and {@link #fitStage}
   * @param whose names the fit among those of the job; empty where the job has only one
   * @param model the original
   */
  public FittedChoice(JobProgress job, String whose, RunningModel model, Listener listener) {
    this.job = job;
    this.whose = whose;
    this.model = model;
    this.listener = listener;
  }

  /** Is told what a choice does. */
  public interface Listener {
    /** Listens to nothing. */
    Listener NONE =
        new Listener() {
          @Override
          public void compared(FitReport.Contender contender) {}

          @Override
          public void better(CollapsePlan plan) {}

          @Override
          public void fitted(long done, long total) {}
        };

    /** A model was measured. */
    void compared(FitReport.Contender contender);

    /** A model is the best so far, and better than that of the search as it is. */
    void better(CollapsePlan plan);

    /** So much of the fit on all tokens is done. */
    void fitted(long done, long total);
  }

  /** How far the chosen model is fitted. */
  @FunctionalInterface
  public interface Whole {
    /** The text on which a chosen model is fitted. */
    WholeText text(CollapsePlan plan);

    /**
     * Whether a layer behind the last gap is to be fitted; otherwise the fit ends.
     *
     * @param seconds that the layer in front of it took
     */
    default boolean fitsMore(double seconds) {
      return true;
    }
  }

  /** The stage in which quick fits are compared. */
  public static String choiceStage(String whose) {
    return whose.isEmpty() ? "choice" : "choice, " + whose;
  }

  /** The stage in which the chosen model is fitted on all tokens. */
  public static String fitStage(String whose) {
    return whose.isEmpty() ? "fit" : "fit, " + whose;
  }

  /**
   * Bytes of buffers: for quick fits, and for the fit behind them.
   *
   * @param text on which models are compared after quick fits
   * @param whole on which the chosen model is fitted
   */
  public static long bytes(Backend backend, ModelConfig config, FitText text, WholeText whole) {
    return Math.max(
        FitTrials.bytes(backend, config, text), CarryOver.bytes(backend, config, whole));
  }

  /**
   * The most quick fits that compare models of a search by trials.
   *
   * @param neighbours whether neighbours of these models are tried, too
   */
  public static int mostContenders(boolean neighbours) {
    return CONTENDERS + PEERS + (neighbours ? MOVES : 0);
  }

  /**
   * The chosen model.
   *
   * @param plan its layers
   * @param tensors its fitted weights; none where the best model of the search predicted better
   *     than any that was fitted
   * @param report how it was fitted
   */
  public record Outcome(CollapsePlan plan, NewWeights tensors, FitReport report) {}

  /**
   * A model fitted on few tokens.
   *
   * @param nll on the documents that are held out of every fit
   * @param compared the nll as it is compared with others'
   */
  private record Choice(CollapsePlan plan, double strength, double nll, double compared) {
    Choice or(Choice other) {
      return other.compared < compared ? other : this;
    }
  }

  private static Choice quick(CollapsePlan plan, FitRule rule, double nll) {
    return new Choice(plan, 1, nll, counted(plan, rule, nll));
  }

  /**
   * The nll of a model after a quick fit as it is compared with that of others. Where the rule
   * itself fits more layers than those before gaps, a quick fit favours models with more gaps, of
   * which it fits a larger part.
   *
   * @param rule by which the chosen model is fitted
   */
  static double counted(CollapsePlan plan, FitRule rule, double nll) {
    long gaps = IntStream.range(0, plan.depth()).filter(plan::hasGapBehind).count();
    return rule.atGapsOnly().equals(rule) ? nll : nll * (1 + GAP * gaps);
  }

  /**
   * Chooses a model and fits it.
   *
   * @param found the models of a search
   * @param neighbours the limits within which neighbours of these models are tried, too; null where
   *     none is
   * @param quick how models are compared, and how the chosen one is fitted
   * @param text the text on which models are compared after quick fits
   * @param whole how far a chosen model is fitted
   * @param memory owner of the new tensors
   */
  public Outcome run(
      SearchResult found,
      @Nullable RemovalLimits neighbours,
      QuickFits quick,
      FitText text,
      Whole whole,
      MemoryArena memory) {
    long start = System.nanoTime();
    FitRule rule = quick.rule();
    List<FitReport.Contender> contenders = new ArrayList<>();
    Choice chosen;
    List<CollapsePlan> candidates = contenders(found);
    boolean fits = true;
    try (JobProgress.Stage progress = job.begin(choiceStage(whose))) {
      if (neighbours == null
          && quick.isNeedless(candidates.size())
          && candidates.contains(found.plan())) {
        chosen = quick(found.plan(), rule, 0);
      } else {
        try (FitTrials trials = new FitTrials(model, text, quick)) {
          compared(found.plan(), false, trials.nll(found.plan()), contenders);
          chosen = choose(inOrder(candidates), neighbours, quick, trials, contenders, progress);
        }
        fits = chosen.nll <= contenders.getFirst().meanNll();
      }
    }
    double choiceSeconds = Seconds.since(start);
    WholeText fitted = whole.text(chosen.plan);
    if (!fits) {
      job.expect(fitStage(whose), 0);
    }
    CarryOver.Result result =
        fits ? fit(chosen, rule, fitted, whole, memory) : CarryOver.Result.nothing();
    FitReport report =
        new FitReport(
            rule,
            fitted.layers().name(),
            fits ? fitted.layers().tokens() : 0,
            chosen.strength,
            model.backend().solver().name(),
            result.finalNorm(),
            result.norms(),
            choiceSeconds,
            fits ? Seconds.since(start) - choiceSeconds : 0,
            contenders,
            result.fitted(),
            result.leftAlone(),
            result.curve());
    return new Outcome(fits ? chosen.plan : found.plan(), result.tensors(), report);
  }

  /**
   * Models with a longer beginning of the original's later: hidden states behind the beginning of
   * one are on the way to those of the next.
   */
  private static List<CollapsePlan> inOrder(List<CollapsePlan> models) {
    return models.stream().sorted(Comparator.comparingInt(CarryOver::unchanged)).toList();
  }

  /** The model that predicts best after a quick fit, with the strength that suits it best. */
  private Choice choose(
      List<CollapsePlan> candidates,
      @Nullable RemovalLimits neighbours,
      QuickFits quick,
      FitTrials trials,
      List<FitReport.Contender> contenders,
      JobProgress.Stage progress) {
    FitRule rule = quick.rule();
    int moves = neighbours == null ? 0 : MOVES;
    int total = candidates.size() + moves + STRENGTHS_WORTH * quick.strengths().size();
    Choice chosen = quick(candidates.getFirst(), rule, Double.POSITIVE_INFINITY);
    Set<CollapsePlan> tried = new HashSet<>();
    CollapsePlan next = candidates.getFirst();
    while (next != null && tried.size() < candidates.size() + moves) {
      tried.add(next);
      Choice choice = quick(next, rule, trials.nll(next, quick.cheap(), 1));
      compared(next, true, choice.nll, contenders);
      chosen = chosen.or(choice);
      if (chosen.nll < contenders.getFirst().meanNll()) {
        listener.better(chosen.plan);
      }
      progress.update(tried.size(), total);
      next =
          tried.size() < candidates.size()
              ? candidates.get(tried.size())
              : neighbours == null ? null : untried(chosen.plan, neighbours, tried);
    }
    if (quick.strengths().isEmpty()) {
      return chosen;
    }
    Choice strongest =
        new Choice(chosen.plan, 1, Double.POSITIVE_INFINITY, Double.POSITIVE_INFINITY);
    for (double strength : quick.strengths()) {
      double nll = trials.nll(chosen.plan, rule, strength);
      strongest = strongest.or(new Choice(chosen.plan, strength, nll, nll));
    }
    return strongest;
  }

  /** Fits the chosen model on all of a text. */
  private CarryOver.Result fit(
      Choice chosen, FitRule rule, WholeText text, Whole whole, MemoryArena memory) {
    listener.better(chosen.plan);
    try (CarryOver carryOver = new CarryOver(model, text);
        JobProgress.Stage progress = job.begin(fitStage(whose))) {
      return carryOver.fit(
          chosen.plan,
          rule,
          chosen.strength,
          true,
          memory,
          new CarryOver.Progress() {
            @Override
            public void update(long done, long total) {
              progress.update(done, total);
              listener.fitted(done, total);
            }

            @Override
            public boolean fitsMore(double seconds) {
              return whole.fitsMore(seconds);
            }
          });
    }
  }

  private void compared(
      CollapsePlan plan, boolean fitted, double nll, List<FitReport.Contender> contenders) {
    FitReport.Contender contender =
        new FitReport.Contender(KeptLayers.of(plan).kept(), fitted, nll);
    contenders.add(contender);
    listener.compared(contender);
  }

  /**
   * The contenders: the best models of a search, behind them the best model that lacks one block of
   * consecutive layers, unless it is among them, and the models of other people's methods. Of
   * models that merge layers, the contender is the model that keeps the same layers and removes the
   * others.
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
    contenders.addAll(found.peers());
    return List.copyOf(contenders);
  }

  /** The next neighbour of a model within limits, or null where all have been tried. */
  private static @Nullable CollapsePlan untried(
      CollapsePlan plan, RemovalLimits limits, Set<CollapsePlan> tried) {
    return Neighbours.of(plan).stream()
        .filter(neighbour -> limits.allow(neighbour) && !tried.contains(neighbour))
        .findFirst()
        .orElse(null);
  }
}
