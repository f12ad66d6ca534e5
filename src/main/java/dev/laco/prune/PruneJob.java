package dev.laco.prune;

import static java.nio.charset.StandardCharsets.UTF_8;

import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.laco.DeviceSettings;
import dev.laco.JobEvent;
import dev.laco.JobProgress;
import dev.laco.Model;
import dev.laco.Seconds;
import dev.laco.Setting;
import dev.laco.apply.OutputFormat;
import dev.laco.apply.PlanApplier;
import dev.laco.apply.PlanTensors;
import dev.laco.backend.Backend;
import dev.laco.backend.MemoryArena;
import dev.laco.checkpoint.LockFile;
import dev.laco.checkpoint.Sha256;
import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.FitRule;
import dev.laco.collapse.LayerMix;
import dev.laco.collapse.MergeRule;
import dev.laco.collapse.Score;
import dev.laco.collapse.Scorer;
import dev.laco.collapse.SearchResult;
import dev.laco.fit.FittedChoice;
import dev.laco.fit.HeldOutChoice;
import dev.laco.heal.HealEvent;
import dev.laco.heal.HealSettings;
import dev.laco.heal.HealStage;
import dev.laco.heal.HealState;
import dev.laco.model.ConfigRewriter;
import dev.laco.model.LayerAttention;
import dev.laco.model.NewWeights;
import dev.laco.report.ChoiceReport;
import dev.laco.report.FitReport;
import dev.laco.report.PruneReport;
import dev.laco.run.FiniteResults;
import dev.laco.run.JobEstimate;
import dev.laco.run.ModelJob;
import dev.laco.run.OpenDevice;
import dev.laco.scoring.SweepOptions;
import dev.laco.training.Distillation;
import dev.laco.training.Residence;
import dev.laco.training.Student;
import dev.laco.transformer.PlannedLayers;
import dev.laco.transformer.RunningModel;
import java.nio.file.Path;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Objects;
import java.util.Optional;
import java.util.function.Consumer;
import java.util.function.UnaryOperator;
import org.jspecify.annotations.Nullable;

/**
 * One prune: a search for the layers to remove or merge, a fit of weights of the layers that stay,
 * and a measurement of the result. The {@link PruneResult} can be used until the job is closed, and
 * is written by a call of its own.
 */
@SuppressWarnings("exports")
public final class PruneJob extends ModelJob<PruneJob> implements AutoCloseable {
  /** Prompts that both models continue for the report, where nobody says. */
  public static final int SAMPLES = 3;

  private final PruneRequest request;
  private final @Nullable GivenPlan given;
  private SearchChoice search;
  private final MemoryArena newMemory = new MemoryArena();
  private @Nullable Path stateFolder;
  private double stateSeconds;
  private @Nullable LockFile lock;
  private @Nullable HealState state;
  private PruneState.@Nullable Earlier earlier;
  private PruneRequest timed;
  private volatile boolean repeatGoesOn;
  private Residence residence = Residence.EVERYTHING;
  private Instant began = Instant.EPOCH;
  private long start;
  private UnaryOperator<Scorer> scoring = UnaryOperator.identity();
  private final @Nullable OutputFormat written;
  private int samples = SAMPLES;
  private volatile PruneEvent.@Nullable BetterModel best;

  /**
   * Prepares a prune whose result may be written as a folder, or not at all.
   *
   * @throws dev.laco.UsageException if the request cannot be met with this model
   * @throws dev.laco.BadInputException if a given plan is for another model, or the config cannot
   *     be that of a shallower model
   */
  public PruneJob(Model model, DeviceSettings device, PruneRequest request) {
    this(model, device, request, null);
  }

  /**
   * Prepares a prune.
   *
   * @param written as what the result will be written: a goal in bytes is of such weights, and
   *     estimates of time count the writing; null where the result may not be written
   * @throws dev.laco.UsageException if the request cannot be met with this model
   * @throws dev.laco.BadInputException if a given plan is for another model, or the config cannot
   *     be that of a shallower model
   */
  public PruneJob(
      Model model, DeviceSettings device, PruneRequest request, @Nullable OutputFormat written) {
    super(model, device);
    this.written = written;
    this.request = request;
    this.timed = request;
    this.given = request.fromPlan() == null ? null : GivenPlan.read(request.fromPlan());
    try {
      this.search = choice(request.effort() == PruneRequest.Effort.FAST ? fast(request) : request);
      // Both are errors before the work, not after it.
      ConfigRewriter.requireRewritable(
          model.checkpoint().configName(), model.checkpoint().configJson());
      if (given != null) {
        given.requireFor(model.checkpoint());
      }
    } catch (RuntimeException e) {
      close();
      throw e;
    }
  }

  private SearchChoice choice(PruneRequest asked) {
    return given == null
        ? SearchChoice.of(
            asked, model, Objects.requireNonNullElse(written, OutputFormat.Folder.DEFAULT))
        : SearchChoice.goOnFrom(given, asked.rule(), model.config());
  }

  /** The request with the rule that does most of those that fit at gaps only, or with none. */
  private PruneRequest fast(PruneRequest asked) {
    FitRule quick = FitRule.quick(model.config());
    return asked.withEffort(null).withRule(quick == null ? MergeRule.DROP.label() : quick.label());
  }

  /**
   * Candidates are scored by another scorer than the engine's. A search in closed form scores only
   * the models that it has found.
   *
   * @param scorer makes the other scorer; it is given the engine's, which the other one may ask
   */
  public PruneJob scoredBy(UnaryOperator<Scorer> scorer) {
    scoring = scorer;
    return this;
  }

  /**
   * Keeps the state of a training in a folder from time to time, with the model that search and fit
   * gave, and goes on from the state that is there. Once the result is written, the folder is
   * deleted. A job that does not train leaves the folder alone.
   *
   * @param everySeconds seconds from one state to the next, at least
   */
  public PruneJob keptIn(Path folder, double everySeconds) {
    stateFolder = folder;
    stateSeconds = everySeconds;
    return this;
  }

  /** At most the bytes of the state that is kept: a new one is written before the old one goes. */
  public long mostStateBytes() {
    return request.healing() == null
        ? 0
        : search.mostNewBytes(model)
            + 2
                * HealStage.stateBytes(
                    request.healing(), model.checkpoint(), search.depthSought(model));
  }

  /**
   * Both models continue so many prompts from the evaluation text, so that the report shows where
   * they part; by default {@value #SAMPLES}. The pruned model does not depend on it.
   *
   * @param count 0 for none
   * @throws dev.laco.UsageException if it is negative
   */
  public PruneJob samples(int count) {
    if (count < 0) {
      throw Setting.of("samples").refuse(count, "at least 0");
    }
    samples = count;
    return this;
  }

  /**
   * A name of the job, a hash of the request and of the model's weights. Jobs that differ only in
   * their device or in the version of laco have the same name.
   */
  public String id() {
    CollapsePlan.Source source = PlanApplier.source(model.checkpoint());
    String named =
        String.join("\n", request.toJson().toString(), source.digest(), source.weights());
    return new Sha256().update(named.getBytes(UTF_8)).hex();
  }

  /** The most layers that the result may have. */
  public int mostLayers() {
    return search.depthSought(model);
  }

  /** The most bytes that the tensors of a fit may take. */
  public long mostNewBytes() {
    boolean mayTrain =
        request.healing() != null || (search.fit() != null && request.leavesTrainingOpen());
    return search.mostNewBytes(model)
        + (mayTrain ? HealStage.weightBytes(model.checkpoint(), search.depthSought(model)) : 0);
  }

  /** The best model so far, also of a job that was cancelled; empty before there is one. */
  public Optional<PruneEvent.BetterModel> best() {
    return Optional.ofNullable(best);
  }

  /** Whether the same job would go on behind search and fit, if this one was ended now. */
  public boolean repeatGoesOn() {
    return repeatGoesOn;
  }

  /**
   * Runs the job.
   *
   * @throws dev.laco.BadInputException if a text cannot be used, or the model's weights are damaged
   * @throws dev.laco.ResourceException if the device or the memory does not suffice
   * @throws dev.laco.CancelledException if it was cancelled
   */
  public PruneResult run() {
    begin();
    began = Instant.now();
    start = System.nanoTime();
    if (stateFolder != null && request.healing() != null) {
      lock = HealState.lock(stateFolder);
    }
    PruneTexts read = PruneTexts.read(request, search, model, samples);
    try (OpenDevice opened = openDevice(read.fit() != null)) {
      Backend backend = opened.backend();
      if (read.heal() != null) {
        HealStage.requireTrains(backend);
      }
      goOn(backend, read);
      shareTime(backend, read);
      PruneTexts texts = read.of(search);
      tell(texts.calibrationRead());
      texts.warnings(model, search.fit()).forEach(this::warn);
      texts.untrained(request, search, model).ifPresent(this::warn);
      PruneMemory memory = new PruneMemory(model, device, backend, search, texts);
      SweepOptions sweep = memory.sweep();
      if (request.leavesTrainingOpen()
          && texts.heal() != null
          && !memory.trainsBesideWeights(sweep)) {
        warnUntrained(texts.heal());
        texts = texts.untrained();
        memory = new PruneMemory(model, device, backend, search, texts);
      }
      residence = memory.residence(sweep);
      chooseTrained(texts.heal());
      texts = texts.training(timed.healing());
      RunningModel running =
          runningModel(
              backend,
              model,
              memory.beside(sweep, residence),
              search.mergedAtOnce(),
              memory.elsewhere(residence),
              memory.helps());
      // The search reads every layer in its first pass, but not the head.
      model.checkpoint().requireFiniteOutsideLayers();
      ExpectedStages expected = new ExpectedStages(model, backend, search, texts);
      expected.expect(
          progress(),
          given == null && earlier == null,
          earlier == null,
          sharedTime(backend, texts).fitSeconds(search),
          written != null);
      HealStage heal = texts.heal();
      if (heal != null) {
        HealStage.expect(progress(), trainingSeconds(backend, heal), request.within());
      }
      tellExpectation();
      if (request.within() == null && earlier == null) {
        expected.quicker(progress(), request.leavesTrainingOpen()).ifPresent(this::tell);
      }
      if (heal != null) {
        tell(new PruneEvent.StagesExpected(stages(expected, heal)));
      }
      return run(running, texts, memory, sweep);
    }
  }

  private double trainingSeconds(Backend backend, HealStage heal) {
    int depth = search.depthSought(model);
    int trained = depth - heal.settings().firstTrained(depth - JobEstimate.behind(depth));
    return heal.seconds(backend, model, trained, residence, scratch());
  }

  /** Looks for what an earlier run of the same job has left; that of another job is an error. */
  private void goOn(Backend backend, PruneTexts texts) {
    if (lock == null || stateFolder == null) {
      return;
    }
    ObjectNode identity =
        HealState.identity(
            request.toJson(),
            PlanApplier.source(model.checkpoint()),
            texts.digest(),
            backend,
            model.weightType());
    identity.put("plan", given == null ? "" : given.plan().toJsonText());
    state = new HealState(stateFolder, identity, stateSeconds);
    earlier = PruneState.read(state, model.checkpoint()).orElse(null);
    if (earlier != null) {
      timed = earlier.request();
    }
  }

  /** Chooses how long the search may take, and by which rule weights are fitted. */
  private void shareTime(Backend backend, PruneTexts texts) {
    if (request.within() != null) {
      if (earlier == null) {
        SharedTime time = sharedTime(backend, texts);
        PruneRequest ruled = time.withRule(time.bounded(request, search), this::choice);
        timed = time.bounded(ruled, choice(ruled));
      }
      search = choice(timed);
    }
  }

  /**
   * Chooses which layers are trained where the request leaves that open: those of the stage, or
   * all, within a time and on all of the text, where all of the training stays in memory.
   */
  private void chooseTrained(@Nullable HealStage stage) {
    HealSettings healing = timed.healing();
    if (earlier != null || healing == null || stage == null) {
      return;
    }
    boolean all =
        healing.mayTrainAll(request.within())
            || (request.effort() == PruneRequest.Effort.BEST && healing.layers() == null);
    timed =
        timed.withHeal(
            all && residence == Residence.EVERYTHING
                ? healing.withLayers(HealSettings.Layers.ALL)
                : stage.settings());
  }

  private void warnUntrained(HealStage heal) {
    warn(
        String.format(
            Locale.ROOT,
            "the fitted model is not trained, since a training does not fit into the memory beside"
                + " the model's weights: %s %d trains it with less memory, which takes longer",
            Setting.of("healTokens"),
            heal.wantedTokens()));
  }

  /** The stages ahead that change the model, with what each does. */
  private List<PruneEvent.ExpectedStage> stages(ExpectedStages of, HealStage heal) {
    List<PruneEvent.ExpectedStage> stages = new ArrayList<>();
    progress()
        .expected()
        .forEach(
            (name, seconds) -> {
              String what = of.what(name, heal, request);
              if (what != null) {
                stages.add(new PruneEvent.ExpectedStage(name, seconds, what));
              }
            });
    return stages;
  }

  /** Tells which layers get attention weights of layers that attend in another way. */
  private void warnMixedAttention(CollapsePlan plan) {
    List<LayerAttention> attention = model.config().attention();
    List<String> mixed = new ArrayList<>();
    for (int index = 0; index < plan.depth(); index++) {
      LayerMix mix = plan.layers().get(index);
      LayerAttention own = attention.get(mix.base());
      if (mix.attention().terms().keySet().stream()
          .anyMatch(layer -> !attention.get(layer).equals(own))) {
        mixed.add(Integer.toString(mix.base()));
      }
    }
    if (!mixed.isEmpty()) {
      warn(
          "attention weights of layers with another window or rotation were merged into layers "
              + String.join(", ", mixed)
              + ", which keep their own: use "
              + Setting.of("rule")
              + " drop, or "
              + Setting.of("align")
              + " with the period of the layers' types");
    }
  }

  private PruneResult run(
      RunningModel running, PruneTexts texts, PruneMemory memory, SweepOptions sweep) {
    double loadSeconds = model.openSeconds() + Seconds.since(start);
    FittedModel fitted = earlier == null ? fitted(running, texts, memory, sweep) : goOn(earlier);
    CollapsePlan searched = fitted.found().plan();
    CollapsePlan plan = fitted.plan();
    PlanTensors tensors = fitted.tensors();
    PruneReport.Healing healing = null;
    if (texts.heal() != null && !plan.isIdentity()) {
      better(plan, tensors, null);
      if (state != null && earlier == null) {
        PruneState.write(state, timed, fitted);
      }
      repeatGoesOn = state != null;
      HealStage stage =
          texts.heal().drawn(progress(), running.original(), PruneJob.this::requireWanted);
      HealStage.Outcome healed = heal(running, plan, tensors, stage);
      healing = new PruneReport.Healing(healed.report(), stages(running, fitted, healed));
      if (!healed.weights().isEmpty()) {
        tensors = new PlanTensors(healed.weights());
      }
    }
    boolean scored =
        fitted.fit() == null
            && tensors.isEmpty()
            && plan.equals(searched)
            && (plan.isIdentity() || !search.objective().needsLanguage());
    Backend backend = running.backend();
    plan =
        plan.withTensors(tensors.named(PlanTensors.DEFAULT_FILE))
            .withProducts(backend.productType(model.weightType()).shortName());
    better(plan, tensors, null);
    warnMixedAttention(plan);
    // A search by nll or kl knows no similarity of its best model, and no search knows a fit.
    PrunedMeasures measures = measures(running);
    Score score =
        scored
            ? fitted.found().score()
            : measures.score(plan, tensors.weights(), texts.sequences());
    PruneReport.Quality quality = measures.quality(plan, tensors.weights(), texts);
    if (quality instanceof PruneReport.Measured measured && !plan.isIdentity()) {
      plan =
          plan.withResults(
              measured
                  .fidelity()
                  .results(
                      measured.text(),
                      measured.dense(),
                      healing == null
                          ? null
                          : new CollapsePlan.Training(healing.training().start().tokens(), null)));
      best = new PruneEvent.BetterModel(plan, tensors, null);
    }
    return new PruneResult(
        this,
        tensors,
        searched,
        search.fit() != null && texts.fit() == null,
        new PruneReporting(
                began, id(), request, model, device, backend, plannedMemory(), search, texts)
            .of(
                fitted.found().withBest(plan, score),
                quality,
                fitted.fit(),
                fitted.choice(),
                healing,
                fitted.work(),
                warnings(),
                loadSeconds,
                fitted.searchSeconds(),
                model.openSeconds() + Seconds.since(start)));
  }

  /** Searches, chooses and fits. */
  private FittedModel fitted(
      RunningModel running, PruneTexts texts, PruneMemory memory, SweepOptions sweep) {
    long searchStart = System.nanoTime();
    SearchRun searching = new SearchRun(model, running, search, scoring, progress(), this::told);
    SearchRun.Found found = given == null ? searching.search(texts, sweep) : searching.given(given);
    SearchResult result = found.result();
    warnCutShort(result);
    FiniteResults.require(model.directory(), result);
    CollapsePlan searched = result.plan();
    PlanTensors tensors = given == null ? new PlanTensors(NewWeights.NONE) : given.tensors();
    better(searched, tensors, null);
    double searchSeconds = Seconds.since(searchStart);
    CollapsePlan plan = searched;
    FitReport fit = null;
    ChoiceReport choice = null;
    long fitStart = System.nanoTime();
    if (texts.fit() != null && search.fit() != null && !searched.isIdentity()) {
      FittedChoice.Outcome fitted =
          new FittedChoice(progress(), "", running, new PruneTelling(this::told))
              .run(
                  result,
                  search.neighbours(),
                  texts.quickFits(search.fit()),
                  texts.fit(),
                  sharedTime(running.backend(), texts)
                      .wholeFit(progress(), search, memory.beside(sweep, residence)),
                  newMemory);
      plan = fitted.plan();
      tensors = new PlanTensors(fitted.tensors());
      fit = fitted.report();
    } else if (texts.choice() != null && !searched.isIdentity()) {
      HeldOutChoice.Outcome chosen = searching.choose(result, texts.choice(), memory.choice(sweep));
      plan = chosen.plan();
      choice = chosen.report();
    }
    return new FittedModel(
        result, found.work(), plan, tensors, fit, choice, searchSeconds, Seconds.since(fitStart));
  }

  private PrunedMeasures measures(RunningModel running) {
    return new PrunedMeasures(model, running, progress(), this::tell, this::requireWanted);
  }

  private SharedTime sharedTime(Backend backend, PruneTexts texts) {
    return new SharedTime(request, model, backend, texts, written != null);
  }

  /** The model that an earlier run was about to train. */
  private FittedModel goOn(PruneState.Earlier from) {
    FittedModel model = from.model();
    tell(new PruneEvent.GoesOn(Objects.requireNonNull(stateFolder), model.plan()));
    warnCutShort(model.found());
    return model;
  }

  private void warnCutShort(SearchResult found) {
    if (found.cutShort()) {
      warn(
          Setting.of("searchBudget")
              + " "
              + timed.search().budget()
              + " ended the search before everything was tried: a larger one may find a better"
              + " model");
    }
  }

  /** What each stage gained and cost. */
  private List<PruneReport.Stage> stages(
      RunningModel running, FittedModel fitted, HealStage.Outcome healed) {
    List<PruneReport.Stage> stages = new ArrayList<>();
    double started = healed.report().measurements().getFirst().nll();
    boolean changed = fitted.isChanged();
    if (given == null) {
      double nll =
          changed ? measures(running).nll(fitted.found().plan(), healed.measured()) : started;
      stages.add(new PruneReport.Stage(PruneStages.SEARCH, fitted.searchSeconds(), nll));
    }
    if (changed) {
      stages.add(
          new PruneReport.Stage(
              fitted.fit() == null ? PruneStages.CHOICE : FittedChoice.fitStage(""),
              fitted.fitSeconds(),
              started));
    }
    stages.add(
        new PruneReport.Stage(
            HealStage.NAME, healed.report().seconds(), healed.report().best().nll()));
    return stages;
  }

  /** Seconds that the whole job may take from now on; null for no limit. */
  private @Nullable Double within() {
    if (request.within() == null || earlier == null) {
      return request.within();
    }
    return request.within() - earlier.model().seconds();
  }

  /** Trains the pruned model. */
  private HealStage.Outcome heal(
      RunningModel running, CollapsePlan plan, PlanTensors tensors, HealStage stage) {
    try (PlannedLayers layers = running.pruned(plan, tensors.weights())) {
      return stage.run(
          progress(),
          running,
          new Student(
              layers.outside(),
              layers,
              stage.settings().firstTrained(firstChanged(plan, tensors.weights()))),
          within(),
          new Distillation.Place(newMemory, residence, scratch(), reserved()),
          new HealStage.Listener() {
            @Override
            public void told(HealEvent event) {
              tell(event);
            }

            @Override
            public void warned(String template) {
              warn(template);
            }

            @Override
            public void requireWanted() {
              PruneJob.this.requireWanted();
            }

            @Override
            public void keeping() {
              better(plan, tensors, null);
            }

            @Override
            public void kept(NewWeights weights) {
              better(plan, new PlanTensors(weights), null);
            }
          },
          state);
    }
  }

  /** The first layer that is not the original's of the same number; the last if all are. */
  private int firstChanged(CollapsePlan plan, NewWeights tensors) {
    int most = Math.min(plan.sharedPrefix(), plan.depth() - 1);
    int first = 0;
    while (first < most && !hasNewTensor(first, tensors)) {
      first++;
    }
    return first;
  }

  private boolean hasNewTensor(int layer, NewWeights tensors) {
    return model.config().architecture().tensorNames(layer, model.config()).stream()
        .anyMatch(name -> tensors.find(name) != null);
  }

  private void better(CollapsePlan plan, PlanTensors tensors, @Nullable Score score) {
    told(new PruneEvent.BetterModel(plan, tensors, score));
  }

  private void told(PruneEvent event) {
    if (event instanceof PruneEvent.BetterModel better) {
      best = better;
    }
    tell(event);
  }

  /** Writes the checkpoint of a result. */
  PlanApplier applier(PruneResult result, Path out, WriteSettings settings) {
    return new PlanApplier(
        model.checkpoint(), result.plan(), result.tensors(), settings.format(out), this::warn);
  }

  /** As {@link PruneResult#writeTo(Path, boolean, PlanApplier, Consumer)}. */
  PruneReport write(
      PruneResult result,
      Path out,
      boolean overwrite,
      PlanApplier applier,
      Consumer<PruneReport> beforeItAppears) {
    long writeStart = System.nanoTime();
    PruneReport[] report = new PruneReport[1];
    try (JobProgress.Stage stage = progress().begin(PruneStages.WRITE)) {
      applier.write(
          out,
          overwrite,
          more -> {
            requireWanted();
            stage.advance(more, applier.tensorBytes());
          },
          () -> {
            requireWanted();
            report[0] =
                result
                    .report()
                    .written(
                        applier.plan(),
                        applier.tensorBytes(),
                        Seconds.since(writeStart),
                        warnings());
            beforeItAppears.accept(report[0]);
          });
    }
    tell(new JobEvent.FileWritten(out, applier.tensorBytes()));
    if (state != null) {
      state.delete();
    }
    return report[0];
  }

  /** Frees the memory of the result's new tensors, and lets others use the folder of the state. */
  @Override
  public void close() {
    if (given != null) {
      given.close();
    }
    if (earlier != null) {
      earlier.close();
      earlier = null;
    }
    newMemory.close();
    if (lock != null) {
      lock.delete();
      lock = null;
    }
  }
}
