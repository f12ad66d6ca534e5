package dev.laco.cli;

import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.laco.Model;
import dev.laco.UsageException;
import dev.laco.apply.PlanApplier;
import dev.laco.backend.Backend;
import dev.laco.backend.MemoryArena;
import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.KeptLayers;
import dev.laco.collapse.MergeRule;
import dev.laco.collapse.Objective;
import dev.laco.collapse.Score;
import dev.laco.collapse.SearchBudget;
import dev.laco.collapse.SearchResult;
import dev.laco.collapse.SpanSearch;
import dev.laco.collapse.SpanSettings;
import dev.laco.collapse.TrialListener;
import dev.laco.collapse.peers.LayerRemoval;
import dev.laco.collapse.peers.SlidingWindow;
import dev.laco.eval.Fidelity;
import dev.laco.eval.LastWord;
import dev.laco.eval.Perplexity;
import dev.laco.fit.CarryOver;
import dev.laco.fit.FitRule;
import dev.laco.model.NewWeights;
import dev.laco.model.PackedSequences;
import dev.laco.prune.FitSettings;
import dev.laco.prune.FittedChoice;
import dev.laco.prune.PruneJob;
import dev.laco.prune.SearchChoice;
import dev.laco.report.PruneReport;
import dev.laco.run.EvaluationText;
import dev.laco.run.FiniteResults;
import dev.laco.run.JobEstimate;
import dev.laco.run.JobProgress;
import dev.laco.run.MemoryPlan;
import dev.laco.run.OpenDevice;
import dev.laco.scoring.LayerInfluence;
import dev.laco.scoring.ModelScore;
import dev.laco.scoring.SweepOptions;
import dev.laco.scoring.SweepScorer;
import dev.laco.text.ClozeSet;
import dev.laco.text.FitText;
import dev.laco.transformer.CausalLm;
import dev.laco.transformer.PlannedLayers;
import dev.laco.transformer.RunningModel;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/** One comparison: every strategy on the same device, texts and size. */
final class CompareRun {
  private static final String DENSE_WORDS = "last words, dense";

  private final CompareCommand command;
  private final Console console;
  private final Model model;
  private final EvaluationText evaluation;
  private final int target;
  private final @Nullable ClozeSet passages;
  private final @Nullable FitText fitText;

  /** The search that all strategies of ours begin with, once it has run. */
  private @Nullable SearchResult ownSearch;

  CompareRun(
      CompareCommand command, Console console, Model model, EvaluationText evaluation, int target) {
    this.command = command;
    this.console = console;
    this.model = model;
    this.evaluation = evaluation;
    this.target = target;
    this.fitText = command.fit.settings().textOrNull(model);
    this.passages = command.lastWord == null ? null : EvalCommand.passages(command.lastWord, model);
  }

  /** Ways to a shallower model (docs/method.md). */
  enum Strategy {
    LACO("laco", "refine"),
    REPAIR("laco-repair", "repair"),
    ALIGN("laco-align", "align"),
    SELECT("laco-select", "select"),
    FIT("laco-fit", "fit"),
    MAP("laco-map", "map"),
    COMPENSATE("laco-compensate", "compensate"),
    MERGE("laco-merge", null),
    PAPER_REPLACE("paper-replace", null),
    PAPER_RDSC("paper-rdsc", null),
    SHORTGPT("shortgpt", null),
    ANGULAR("angular", null),
    SLEB("sleb", null),
    SLIDING_WINDOW("sliding-window", null),
    LAST("last", null);

    /** What is compared unless told otherwise: the default of prune, and what others do. */
    static final List<Strategy> USUAL =
        Arrays.stream(values())
            .filter(strategy -> strategy == LACO || strategy.compareTo(MERGE) > 0)
            .toList();

    private final String title;
    private final @Nullable String fit;

    Strategy(String title, @Nullable String fit) {
      this.title = title;
      this.fit = fit;
    }

    /** How weights are fitted; null where they are not. */
    @Nullable FitRule fit() {
      return fit == null ? null : FitRule.named(fit);
    }

    @Override
    public String toString() {
      return title;
    }
  }

  /** What strategies work with. */
  private record Bench(
      RunningModel model,
      CollapsePlan.Source source,
      PackedSequences sequences,
      SweepScorer scorer) {
    LayerInfluence influence() {
      return LayerInfluence.measure(model, sequences);
    }
  }

  /** A line of the table. */
  private record Row(
      Strategy strategy,
      CollapsePlan plan,
      Score score,
      Fidelity fidelity,
      @Nullable LastWord lastWord,
      double seconds) {}

  void run() {
    PackedSequences sequences =
        PackedSequences.of(model.calibration(command.texts.calibration).sequences());
    model.textsAreRead();
    SweepOptions sweep = SweepOptions.of(SweepOptions.CANDIDATES).with(Objective.NLL);
    try (OpenDevice opened = command.device.open(model, console)) {
      Backend backend = opened.backend();
      if (fitText != null) {
        FitSettings.requireSolver(backend);
      }
      console.line("device", "%s", opened.describe(model));
      console.line("model", "%s: %s", model.directory(), model.describe());
      boolean fits = command.strategies.stream().anyMatch(strategy -> strategy.fit() != null);
      evaluation.warnings(model, fits ? fitText : null).forEach(console::warning);
      MemoryPlan memory =
          MemoryPlan.of(
              backend,
              model.checkpoint(),
              command.device.settings(),
              new MemoryPlan.Beside(
                  Math.max(
                          SweepScorer.bytes(model.config(), sequences.size(), sweep),
                          measuring(backend))
                      + model.config().layerParameters() * Float.BYTES,
                  newWeights()),
              model.config().numHiddenLayers(),
              "use fewer or shorter calibration sentences");
      console.line("memory", "%s", memory.describe(backend));
      RunningModel running = new RunningModel(backend, model.config(), memory.weights(backend));
      PruneJob.requireFiniteOutsideLayers(model);
      CausalLm lm = running.original();
      expect(backend, sequences.size());
      Perplexity dense = evaluation.measure(console.job(), PruneJob.DENSE, model.directory(), lm);
      CollapsePlan.Source source = PlanApplier.source(model.checkpoint());
      LastWord denseWords = lastWord(DENSE_WORDS, lm);
      List<Row> rows = new ArrayList<>();
      try (SweepScorer scorer = new SweepScorer(running, source, sequences, sweep)) {
        Bench bench = new Bench(running, source, sequences, scorer);
        for (Strategy strategy : command.strategies) {
          row(strategy, bench).ifPresent(rows::add);
        }
      }
      rows.sort(Comparator.comparingDouble(row -> row.fidelity().perplexity().meanNll()));
      say(dense, denseWords, rows);
    }
  }

  /** Says about how long all will take. */
  private void expect(Backend backend, int calibrationTokens) {
    JobEstimate estimate = new JobEstimate(model, backend);
    JobProgress job = console.job();
    int depth = model.config().numHiddenLayers();
    job.expect(PruneJob.DENSE, estimate.pass(evaluation.windows(), depth));
    if (passages != null) {
      job.expect(DENSE_WORDS, estimate.pass(passages.items(), depth));
    }
    SearchChoice usual = SearchChoice.byDefault(depth, target);
    double search = estimate.search(usual.models(), target, usual.objective(), calibrationTokens);
    boolean searched = false;
    for (Strategy strategy : command.strategies) {
      boolean own = strategy.compareTo(Strategy.MERGE) <= 0;
      job.expect(strategy.toString(), own && searched ? 0 : search);
      searched |= own;
      FitRule fit = strategy.fit();
      if (fit != null && fitText != null) {
        FittedChoice.expect(job, estimate, strategy.toString(), fit, true, fitText, target);
      }
      job.expect(heldOut(strategy), estimate.pass(evaluation.windows(), depth + target));
      if (passages != null) {
        job.expect(lastWords(strategy), estimate.pass(passages.items(), target));
      }
    }
    console.expectation();
  }

  private static String heldOut(Strategy strategy) {
    return "held-out text, " + strategy;
  }

  private static String lastWords(Strategy strategy) {
    return "last words, " + strategy;
  }

  /** Empty where a strategy cannot leave so few layers; that is said. */
  private Optional<Row> row(Strategy strategy, Bench bench) {
    long start = System.nanoTime();
    SearchResult found;
    try (JobProgress.Stage progress = console.progress(strategy.toString())) {
      found =
          found(strategy, bench, (trial, share) -> progress.update(Math.round(share * 1000), 1000));
    } catch (UsageException e) {
      console.warning(strategy + ": " + e.template());
      return Optional.empty();
    }
    CollapsePlan plan = found.plan();
    try (MemoryArena memory = new MemoryArena();
        PlannedLayers layers = bench.model().pruned(plan, NewWeights.NONE)) {
      FitRule fit = strategy.fit();
      if (fit != null && fitText != null) {
        FittedChoice.Outcome fitted =
            new FittedChoice(console.job(), strategy.toString(), bench.model())
                .run(found, true, fit, fitText, memory, best -> {});
        plan = fitted.planWithTensors();
        layers.use(fitted.plan(), fitted.tensors());
      }
      double seconds = (System.nanoTime() - start) / 1e9;
      CausalLm original = bench.model().original();
      Score score = ModelScore.of(original, layers.model(), bench.sequences());
      Fidelity fidelity =
          evaluation.measure(console.job(), heldOut(strategy), original, layers.model());
      if (!FiniteResults.isFinite(fidelity.perplexity())) {
        console.warning(
            String.format(
                Locale.ROOT,
                "%s: left out: perplexity is %s, its hidden states overflow",
                strategy,
                fidelity.perplexity().perplexity()));
        return Optional.empty();
      }
      LastWord words = lastWord(lastWords(strategy), layers.model());
      return Optional.of(new Row(strategy, plan, score, fidelity, words, seconds));
    }
  }

  private long newWeights() {
    return command.strategies.stream()
        .map(Strategy::fit)
        .filter(fit -> fit != null && fitText != null)
        .mapToLong(fit -> PruneJob.newWeights(model, fit, target))
        .max()
        .orElse(0);
  }

  private long measuring(Backend backend) {
    long heldOut =
        Math.max(
            Fidelity.bytes(model.config(), evaluation.windows()),
            fitText == null ? 0 : CarryOver.bytes(backend, model.config(), fitText.windows()));
    return passages == null
        ? heldOut
        : Math.max(heldOut, LastWord.bytes(model.config(), passages.items()));
  }

  /** Null where it was not asked for. */
  private @Nullable LastWord lastWord(String task, CausalLm lm) {
    if (passages == null) {
      return null;
    }
    try (JobProgress.Stage progress = console.progress(task)) {
      return LastWord.measure(lm, passages.items(), progress::update);
    }
  }

  private static String percent(@Nullable LastWord words) {
    return words == null
        ? "-"
        : String.format(
            Locale.ROOT, "%.1f ± %.1f %%", 100 * words.accuracy(), 100 * words.standardError());
  }

  /** What a strategy finds. */
  private SearchResult found(Strategy strategy, Bench bench, TrialListener listener) {
    if (strategy.compareTo(Strategy.MERGE) > 0) {
      return SearchResult.known(plan(strategy, bench, listener));
    }
    SearchResult result = ownSearch;
    if (result == null) {
      SearchChoice chosen = SearchChoice.byDefault(model.config().numHiddenLayers(), target);
      result = chosen.search().run(bench.source(), bench.scorer(), listener);
      ownSearch = result;
    }
    return result;
  }

  private CollapsePlan plan(Strategy strategy, Bench bench, TrialListener listener) {
    int depth = model.config().numHiddenLayers();
    int removed = depth - target;
    return switch (strategy) {
      case LACO, REPAIR, ALIGN, SELECT, FIT, MAP, COMPENSATE, MERGE ->
          throw new IllegalArgumentException(strategy + " is searched for");
      case PAPER_REPLACE ->
          search(SearchChoice.paper(depth, target, MergeRule.REPLACE), bench, listener);
      case PAPER_RDSC ->
          search(SearchChoice.paper(depth, target, MergeRule.rdsc(1)), bench, listener);
      case SHORTGPT ->
          LayerRemoval.leastInfluence(bench.source(), bench.influence().blockInfluence(), target);
      case ANGULAR ->
          LayerRemoval.closestBlock(
              bench.source(), bench.influence().angularDistances(removed), target);
      case SLEB -> sleb(bench, listener);
      case SLIDING_WINDOW -> new SlidingWindow(bench.source(), bench.scorer()).reach(target);
      case LAST -> LayerRemoval.lastButOne(bench.source(), target);
    };
  }

  private static CollapsePlan search(SearchChoice chosen, Bench bench, TrialListener listener) {
    return chosen.search().run(bench.source(), bench.scorer(), listener).plan();
  }

  /**
   * SLEB (arXiv 2402.09025): one layer at a time, that without which the calibration text is
   * likeliest. Here the first layer stays.
   */
  private CollapsePlan sleb(Bench bench, TrialListener listener) {
    SpanSettings settings =
        new SpanSettings(
            2, 0, bench.source().layers(), List.of(MergeRule.DROP), null, Objective.NLL, 1);
    return new SpanSearch(settings, bench.source(), bench.scorer())
        .reach(target, SearchBudget.UNLIMITED, listener)
        .plan();
  }

  private void say(Perplexity dense, @Nullable LastWord denseWords, List<Row> rows) {
    if (command.output.json) {
      console.document(json(dense, denseWords, rows));
      return;
    }
    console.resultLine(
        "dense",
        "perplexity %.2f (%s, %,d tokens), last words %s",
        dense.perplexity(),
        evaluation.name(),
        dense.tokens(),
        percent(denseWords));
    String form = "%-15s  %10s  %8s  %10s  %8s  %12s  %8s  %s%n";
    StringBuilder table = new StringBuilder();
    table.append(
        String.format(
            Locale.ROOT,
            form,
            "strategy",
            "similarity",
            "kl",
            "perplexity",
            "to dense",
            "last words",
            "seconds",
            "layers kept"));
    for (Row row : rows) {
      table.append(
          String.format(
              Locale.ROOT,
              form,
              row.strategy(),
              four(row.fidelity().similarity()),
              four(row.fidelity().divergence()),
              String.format(Locale.ROOT, "%.2f", row.fidelity().perplexity().perplexity()),
              "x" + String.format(Locale.ROOT, "%.3f", ratio(row, dense)),
              percent(row.lastWord()),
              String.format(Locale.ROOT, "%.1f", row.seconds()),
              KeptLayers.ranges(KeptLayers.of(row.plan()).kept())));
    }
    console.result(table.toString());
  }

  private static String four(double value) {
    return String.format(Locale.ROOT, "%.4f", value);
  }

  private static double ratio(Row row, Perplexity dense) {
    return Math.exp(row.fidelity().perplexity().meanNll() - dense.meanNll());
  }

  private ObjectNode json(Perplexity dense, @Nullable LastWord denseWords, List<Row> rows) {
    ObjectNode json = JsonNodeFactory.instance.objectNode();
    json.put("model", model.directory().toString());
    json.put("layersIn", model.config().numHiddenLayers());
    json.put("layersOut", target);
    json.put("text", evaluation.name());
    json.set("dense", PruneReport.toJson(dense));
    putLastWord(json, "denseLastWord", denseWords);
    ArrayNode strategies = json.putArray("strategies");
    for (Row row : rows) {
      ObjectNode object = strategies.addObject();
      object.put("strategy", row.strategy().toString());
      object.put("similarity", row.fidelity().similarity());
      object.put("kl", row.fidelity().divergence());
      object.set("pruned", PruneReport.toJson(row.fidelity().perplexity()));
      object.put("ratio", ratio(row, dense));
      putLastWord(object, "lastWord", row.lastWord());
      ObjectNode calibration = object.putObject("calibration");
      calibration.put("similarity", row.score().mean());
      calibration.put("kl", Objective.KL.measured(row.score()));
      calibration.put("nll", Objective.NLL.measured(row.score()));
      object.put("seconds", row.seconds());
      object.set("plan", row.plan().toJson());
    }
    return json;
  }

  private static void putLastWord(ObjectNode json, String key, @Nullable LastWord words) {
    if (words != null) {
      json.set(key, PruneReport.toJson(words));
    }
  }
}
