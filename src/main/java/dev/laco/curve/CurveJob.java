package dev.laco.curve;

import static java.nio.charset.StandardCharsets.UTF_8;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.laco.BadInputException;
import dev.laco.DeviceSettings;
import dev.laco.JobEvent;
import dev.laco.JobProgress;
import dev.laco.Model;
import dev.laco.Setting;
import dev.laco.UsageException;
import dev.laco.apply.PlanApplier;
import dev.laco.apply.PlanTensors;
import dev.laco.backend.Backend;
import dev.laco.backend.MemoryArena;
import dev.laco.checkpoint.Sha256;
import dev.laco.collapse.BlockCost;
import dev.laco.collapse.BlockSearch;
import dev.laco.collapse.BlockSettings;
import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.FitRule;
import dev.laco.collapse.KeptLayers;
import dev.laco.collapse.Score;
import dev.laco.collapse.SearchResult;
import dev.laco.collapse.SearchResult.Scored;
import dev.laco.compare.CompareJob;
import dev.laco.compare.CompareJson;
import dev.laco.compare.CompareRequest;
import dev.laco.compare.CompareResult;
import dev.laco.curve.CurveResult.Dense;
import dev.laco.curve.CurveResult.Peer;
import dev.laco.curve.CurveResult.Point;
import dev.laco.fit.BlockMeasure;
import dev.laco.fit.FittedChoice;
import dev.laco.fit.HeldOutChoice;
import dev.laco.fit.QuickFits;
import dev.laco.fit.WholeText;
import dev.laco.measure.FidelityMeasure;
import dev.laco.model.ConfigRewriter;
import dev.laco.model.NewWeights;
import dev.laco.model.PackedSequences;
import dev.laco.prune.Goal;
import dev.laco.prune.PeerModels;
import dev.laco.prune.PruneRequest;
import dev.laco.prune.SearchChoice;
import dev.laco.prune.SearchSettings;
import dev.laco.report.Fidelity;
import dev.laco.run.EvaluationText;
import dev.laco.run.FiniteResults;
import dev.laco.run.JobEstimate;
import dev.laco.run.JobTexts;
import dev.laco.run.MemoryPlan;
import dev.laco.run.ModelJob;
import dev.laco.run.OpenDevice;
import dev.laco.scoring.ResidualStream;
import dev.laco.scoring.StreamSimilarity;
import dev.laco.scoring.SweepOptions;
import dev.laco.scoring.SweepScorer;
import dev.laco.text.CalibrationSet;
import dev.laco.text.FitText;
import dev.laco.text.TextChunks;
import dev.laco.transformer.PlannedLayers;
import dev.laco.transformer.RunningModel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import java.util.TreeMap;
import org.jspecify.annotations.Nullable;

/**
 * One curve over sizes: one search finds the best models of all sizes, and each of them is fitted
 * and measured. The search is that of a prune to the smallest size: in closed form, the costs of
 * all blocks give the models of every size; by trials, the search passes the models of all sizes on
 * its way to the smallest. What is done lies in a folder, and a job that is started again with the
 * same folder goes on where the last one ended.
 */
@SuppressWarnings("exports")
public final class CurveJob extends ModelJob<CurveJob> {
  private static final String SEARCH = "search";
  private static final String DENSE_FILE = "dense.json";

  private final CurveRequest request;
  private final Path path;
  private final List<Integer> depths;
  private final SearchChoice search;

  /**
   * Prepares a curve.
   *
   * @param folder where the models of all sizes are kept as plans, and what was measured of them
   * @throws UsageException if the model cannot have a size, or the rule does not hold for it
   * @throws dev.laco.BadInputException if the config cannot be that of a shallower model
   */
  public CurveJob(Model model, DeviceSettings device, CurveRequest request, Path folder) {
    super(model, device);
    this.request = request;
    this.path = folder;
    depths = request.depths(model);
    search =
        SearchChoice.of(
            new PruneRequest(
                Goal.layers(depths.getLast()),
                SearchSettings.DEFAULT,
                request.rule(),
                request.fit(),
                request.texts(),
                null,
                null,
                null,
                null),
            model);
    ConfigRewriter.requireRewritable(
        model.checkpoint().configName(), model.checkpoint().configJson());
  }

  /**
   * The texts of a curve as token ids.
   *
   * @param fitSource all of the text of which fit and choice are the beginning; also that of the
   *     strategies that are compared
   */
  private record Texts(
      CalibrationSet sentences,
      PackedSequences calibration,
      EvaluationText evaluation,
      @Nullable FitText fit,
      @Nullable FitText fitSource,
      @Nullable FitText choice) {
    /** A hash of all texts. */
    private String digest() {
      Sha256 hash = new Sha256();
      for (TextChunks.Chunk chunk : evaluation.chunks()) {
        hash.update((Arrays.toString(chunk.ids()) + chunk.firstScored()).getBytes(UTF_8));
      }
      String others = JobTexts.digest(sentences, Arrays.asList(fitSource));
      return hash.update(others.getBytes(UTF_8)).hex();
    }

    /** The text on which a chosen model is fitted by a rule; null where there is no fit. */
    private @Nullable WholeText whole(FitRule rule) {
      return WholeText.orNull(fitSource, fit, rule, false);
    }
  }

  /** The most bytes that the new tensors of the sizes take that the folder does not have yet. */
  public long mostNewBytes() {
    FitRule fit = search.fit();
    return fit == null
        ? 0
        : depths.stream()
            .filter(depth -> !Files.exists(path.resolve(pointFile(depth))))
            .mapToLong(depth -> MemoryPlan.newWeights(model.checkpoint(), fit, depth))
            .sum();
  }

  /**
   * Runs the job, or what is left of it.
   *
   * @throws UsageException if there is nothing to measure on, or the folder holds something else
   * @throws dev.laco.BadInputException if a text cannot be used, or the model's weights are damaged
   * @throws dev.laco.ResourceException if the device, the memory or the disk does not suffice
   * @throws dev.laco.CancelledException if it was cancelled
   */
  public CurveResult run() {
    begin();
    Texts texts = texts();
    try (CurveFolder folder = new CurveFolder(path, identity(texts))) {
      return run(folder, texts);
    }
  }

  private CurveResult run(CurveFolder folder, Texts texts) {
    Dense dense;
    List<Point> points = new ArrayList<>();
    CompareJob comparison = comparison(folder);
    try (OpenDevice opened = openDevice(texts.fit != null)) {
      texts.sentences.warnings().forEach(this::warn);
      if (texts.fit == null && search.fit() != null) {
        warn(JobTexts.noFit(model));
      }
      texts
          .evaluation
          .warnings(
              model,
              texts.fit == null || search.fit() == null
                  ? List.of()
                  : List.of(Objects.requireNonNull(texts.whole(search.fit())).all()))
          .forEach(this::warn);
      SweepOptions sweep = SweepOptions.of(SweepOptions.CANDIDATES).with(search.objective());
      RunningModel running = running(opened.backend(), sweep, texts);
      model.checkpoint().requireFiniteOutsideLayers();
      expect(opened.backend(), folder, texts);
      if (comparison != null) {
        comparison.expect(opened);
      }
      tellExpectation();
      try (FidelityMeasure measure = texts.evaluation.against(running.original(), true)) {
        dense = dense(folder, texts, measure);
        search(folder, running, texts, sweep);
        for (int depth : depths) {
          points.add(point(folder, running, texts, measure, depth));
        }
      }
    }
    if (comparison != null) {
      comparison.run(result -> compared(folder, result));
    }
    List<Peer> peers = request.compared().isEmpty() ? List.of() : peers(folder);
    return new CurveResult(
        model.directory(), texts.evaluation.name(), dense, points, peers, warnings());
  }

  /** What makes curves different: a folder holds the steps of one. */
  private ObjectNode identity(Texts texts) {
    CollapsePlan.Source source = PlanApplier.source(model.checkpoint());
    ObjectNode identity = JsonNodeFactory.instance.objectNode();
    identity.set("request", request.toJson());
    identity.put("digest", source.digest());
    identity.put("weights", source.weights());
    identity.put("texts", texts.digest());
    return identity;
  }

  private Texts texts() {
    EvaluationText evaluation =
        JobTexts.requireEvaluation(
            "measure on", model, request.texts().evaluation(), request.texts().evaluationTokens());
    Path file = request.fit().file();
    Integer tokens = request.fit().tokens();
    boolean needed = search.fit() == null ? tokens != null : request.rule() != null;
    FitText source =
        needed ? JobTexts.fitSource(model, file) : JobTexts.fitSourceOrNull(model, file);
    FitText fit =
        source == null || search.fit() == null ? null : JobTexts.fit(source, model, tokens);
    FitText choice =
        source == null || !search.choosesUnfitted() ? null : JobTexts.choice(source, tokens);
    CalibrationSet calibration = JobTexts.calibration(model, request.texts().calibration());
    model.textsAreRead();
    return new Texts(
        calibration, PackedSequences.of(calibration.sequences()), evaluation, fit, source, choice);
  }

  private RunningModel running(Backend backend, SweepOptions sweep, Texts texts) {
    long measuring = FidelityMeasure.bytes(backend, model.config(), texts.evaluation.chunks());
    long fitting =
        texts.fit == null || search.fit() == null
            ? 0
            : FittedChoice.bytes(
                backend,
                model.config(),
                texts.fit,
                Objects.requireNonNull(texts.whole(search.fit())));
    BlockSettings blocks = search.blocks();
    long searching =
        blocks == null || texts.fit == null
            ? SweepScorer.bytes(model.config(), texts.calibration.size(), sweep)
            : BlockMeasure.bytes(backend, model.config(), texts.fit, blocks);
    long choosing =
        Math.max(
            ResidualStream.bytes(model.config(), texts.calibration),
            texts.choice == null
                ? 0
                : SweepScorer.bytes(model.config(), texts.choice.tokens(), choosing(sweep, texts)));
    long newWeights = 0;
    if (texts.fit != null && search.fit() != null) {
      for (int depth : depths) {
        newWeights =
            Math.max(newWeights, MemoryPlan.newWeights(model.checkpoint(), search.fit(), depth));
      }
    }
    return runningModel(
        backend,
        new MemoryPlan.Beside(
            Math.max(Math.max(searching, choosing), Math.max(measuring, fitting))
                + FidelityMeasure.heldBytes(backend, model.config(), texts.evaluation.chunks())
                + model.config().layerParameters() * Float.BYTES,
            newWeights),
        search.mergedAtOnce(),
        "use fewer or shorter calibration sentences, or fewer " + Setting.of("fitTokens"));
  }

  /** What a pass of the choice among models carries of which none is fitted. */
  private SweepOptions choosing(SweepOptions sweep, Texts texts) {
    return HeldOutChoice.options(model.config(), sweep, texts.calibration.size());
  }

  /** Estimates the seconds of what is left to do. */
  private void expect(Backend backend, CurveFolder folder, Texts texts) {
    JobEstimate estimate = new JobEstimate(model, backend);
    int depth = model.config().numHiddenLayers();
    if (folder.find(DENSE_FILE).isEmpty()) {
      progress().expect(DENSE, estimate.pass(texts.evaluation.chunks(), depth));
    }
    if (!isSearched(folder)) {
      progress().expect(SEARCH, search.seconds(estimate, texts.calibration.size(), texts.fit));
    }
    for (int size : depths) {
      if (folder.find(pointFile(size)).isEmpty()) {
        if (texts.fit != null && search.fit() != null) {
          estimate.expectFit(
              progress(),
              label(size),
              QuickFits.of(search.fit(), false),
              search.mostContenders(),
              texts.fit,
              texts.fit.tokens(),
              size);
        }
        if (texts.choice != null) {
          progress()
              .expect(
                  FittedChoice.choiceStage(label(size)),
                  estimate.search(
                      HeldOutChoice.MOST, size, search.objective(), texts.choice.tokens()));
        }
        progress().expect(heldOut(size), estimate.pass(texts.evaluation.chunks(), size));
      }
    }
  }

  private static String label(int depth) {
    return depth + " layers";
  }

  private static String heldOut(int depth) {
    return "held-out text, " + label(depth);
  }

  private static String searchFile(int depth) {
    return "search-" + depth + ".json";
  }

  private static String pointFile(int depth) {
    return "point-" + depth + ".json";
  }

  private static String peersFile(int depth) {
    return "peers-" + depth + ".json";
  }

  private Dense dense(CurveFolder folder, Texts texts, FidelityMeasure measure) {
    return CurveJson.dense(
        path.resolve(DENSE_FILE),
        folder.get(
            DENSE_FILE,
            () ->
                CurveJson.of(
                    new Dense(
                        model.config().numHiddenLayers(),
                        model.checkpoint().weightBytes(),
                        texts.evaluation.measure(progress(), DENSE, model.directory(), measure)))));
  }

  private boolean isSearched(CurveFolder folder) {
    return depths.stream().allMatch(depth -> folder.find(searchFile(depth)).isPresent());
  }

  /** Searches for the best models of all sizes, unless the folder has them. */
  private void search(CurveFolder folder, RunningModel running, Texts texts, SweepOptions sweep) {
    if (isSearched(folder)) {
      tell(new CurveEvent.Searched(0, 0));
      return;
    }
    CollapsePlan.Source source = PlanApplier.source(model.checkpoint());
    BlockSettings blocks = search.blocks();
    if (blocks == null) {
      byTrials(folder, running, texts, sweep, source);
    } else {
      inClosedForm(folder, running, texts, blocks, source);
    }
  }

  /** One search to the smallest size, which passes the models of all others. */
  private void byTrials(
      CurveFolder folder,
      RunningModel running,
      Texts texts,
      SweepOptions sweep,
      CollapsePlan.Source source) {
    SearchResult result;
    try (JobProgress.Stage stage = progress().begin(SEARCH);
        SweepScorer scorer = new SweepScorer(running, source, texts.calibration, sweep)) {
      result =
          search
              .search()
              .run(
                  new SearchChoice.Ground(running, source, scorer, texts.fit),
                  (trial, share) -> stage.updateShare(share));
    }
    FiniteResults.require(model.directory(), result);
    PeerModels peers = search.peers();
    StreamSimilarity stream =
        peers == null ? null : StreamSimilarity.measure(running, texts.calibration);
    for (int depth : depths) {
      SearchResult at =
          result
              .at(depth)
              .orElseThrow(
                  () -> new UsageException("the search finds no model of " + label(depth)));
      SearchResult all =
          peers == null || stream == null ? at : at.withPeers(peers.of(source, stream, depth));
      folder.get(searchFile(depth), () -> of(all));
    }
    tell(new CurveEvent.Searched(result.trials().size(), 0));
  }

  /** One walk over the original gives the costs of all blocks, and they the models of all sizes. */
  private void inClosedForm(
      CurveFolder folder,
      RunningModel running,
      Texts texts,
      BlockSettings blocks,
      CollapsePlan.Source source) {
    List<BlockCost> costs;
    try (JobProgress.Stage stage = progress().begin(SEARCH)) {
      costs = SearchChoice.costs(running, texts.fit, blocks, stage::updateShare);
    }
    for (int depth : depths) {
      List<CollapsePlan> models =
          BlockSearch.cheapest(blocks, source, costs, source.layers() - depth);
      folder.get(searchFile(depth), () -> of(SearchResult.known(models)));
    }
    tell(new CurveEvent.Searched(0, costs.size()));
  }

  private static ObjectNode of(SearchResult found) {
    ObjectNode json = JsonNodeFactory.instance.objectNode();
    ArrayNode ranked = json.putArray("ranked");
    found.ranked().forEach(scored -> ranked.add(scored.plan().toJson()));
    if (found.bestBlock() != null) {
      json.set("block", found.bestBlock().plan().toJson());
    }
    ArrayNode peers = json.putArray("peers");
    found.peers().forEach(plan -> peers.add(plan.toJson()));
    return json;
  }

  /** What the search found of a size; the scores are not kept. */
  private SearchResult found(CurveFolder folder, int depth) {
    String name = searchFile(depth);
    JsonNode json = folder.find(name).orElseThrow();
    List<Scored> ranked = new ArrayList<>();
    json.path("ranked").forEach(plan -> ranked.add(scored(folder.file(name), plan, depth)));
    if (ranked.isEmpty()) {
      throw damaged(folder.file(name), "ranked", depth);
    }
    List<CollapsePlan> peers = new ArrayList<>();
    json.path("peers").forEach(plan -> peers.add(scored(folder.file(name), plan, depth).plan()));
    JsonNode block = json.get("block");
    return new SearchResult(
        null,
        ranked,
        block == null ? null : scored(folder.file(name), block, depth),
        peers,
        new TreeMap<>(),
        List.of(),
        List.of(),
        false);
  }

  private Scored scored(Path file, JsonNode json, int depth) {
    CollapsePlan plan = CollapsePlan.parse(file.toString(), json.toString());
    if (plan.depth() != depth || !plan.source().equals(PlanApplier.source(model.checkpoint()))) {
      throw damaged(file, "layers", depth);
    }
    return new Scored(plan, Score.UNCHANGED);
  }

  private static BadInputException damaged(Path file, String field, int depth) {
    return new BadInputException(
        file
            + ": "
            + field
            + ": expected plans of this model with "
            + label(depth)
            + ": delete the file, so that the search runs again");
  }

  /** Fits and measures the model of a size, unless the folder has it. */
  private Point point(
      CurveFolder folder, RunningModel running, Texts texts, FidelityMeasure measure, int depth) {
    Optional<ObjectNode> known = folder.find(pointFile(depth));
    ObjectNode json =
        known.isPresent()
            ? known.get()
            : folder.get(
                pointFile(depth),
                () -> CurveJson.of(measured(folder, running, texts, measure, depth)));
    Point point = CurveJson.point(folder.file(pointFile(depth)), json);
    tell(new CurveEvent.PointMeasured(point, known.isPresent()));
    return point;
  }

  private Point measured(
      CurveFolder folder, RunningModel running, Texts texts, FidelityMeasure measure, int depth) {
    SearchResult found = found(folder, depth);
    CollapsePlan plan = found.plan();
    NewWeights tensors = NewWeights.NONE;
    if (texts.choice != null) {
      plan = chosen(found, running, texts, texts.choice);
    }
    try (MemoryArena memory = new MemoryArena();
        PlannedLayers layers = running.pruned(plan, tensors)) {
      FitRule rule = search.fit();
      if (texts.fit != null && rule != null) {
        FittedChoice.Outcome fitted =
            new FittedChoice(progress(), label(depth), running, FittedChoice.Listener.NONE)
                .run(
                    found,
                    search.neighbours(),
                    QuickFits.of(rule, false),
                    texts.fit,
                    _ -> Objects.requireNonNull(texts.whole(rule)),
                    memory);
        plan = fitted.plan();
        tensors = fitted.tensors();
        layers.use(plan, tensors);
      }
      Fidelity fidelity =
          texts.evaluation.measure(progress(), heldOut(depth), measure, layers.model()).pruned();
      FiniteResults.require(
          "the model of " + label(depth), texts.evaluation.name(), fidelity.perplexity());
      Speed speed = Speed.of(running.original(), layers.model(), texts.calibration);
      String stem = "layers-" + depth;
      folder.write(
          stem,
          plan.withProducts(running.backend().productType(model.weightType()).shortName()),
          new PlanTensors(tensors));
      tell(
          new JobEvent.FileWritten(
              folder.file(stem + ".json"), new PlanTensors(tensors).fileSize()));
      running.backend().release(List.copyOf(tensors.tensors().values()));
      return new Point(
          depth,
          KeptLayers.ranges(KeptLayers.of(plan).kept()),
          PlanApplier.weightBytes(model.checkpoint(), plan),
          fidelity,
          speed.pruned(),
          speed.speedup(),
          stem + ".json");
    }
  }

  /** The best of a search, and of other people's methods, on text that the search has not seen. */
  private CollapsePlan chosen(
      SearchResult found, RunningModel running, Texts texts, FitText choice) {
    SweepOptions sweep = SweepOptions.of(SweepOptions.CANDIDATES).with(search.objective());
    try (JobProgress.Stage _ =
            progress().begin(FittedChoice.choiceStage(label(found.plan().depth())));
        SweepScorer scorer =
            new SweepScorer(
                running,
                found.plan().source(),
                HeldOutChoice.sequences(choice),
                choosing(sweep, texts))) {
      return HeldOutChoice.among(found, search.objective(), choice.name(), choice.tokens(), scorer)
          .plan();
    }
  }

  /**
   * The comparison at the sizes of which the folder has none; null where there is nothing to do.
   */
  private @Nullable CompareJob comparison(CurveFolder folder) {
    List<Integer> missing =
        depths.stream().filter(depth -> folder.find(peersFile(depth)).isEmpty()).toList();
    if (request.compared().isEmpty() || missing.isEmpty()) {
      return null;
    }
    CompareRequest compare =
        CompareRequest.of(Goal.layers(missing.getLast()))
            .withStrategies(request.compared())
            .withTexts(request.texts())
            .withFit(request.fit());
    return new CompareJob(model, device, compare, missing)
        .cancelledBy(cancellation())
        .progressOf(progress())
        .listener(
            event -> {
              if (event instanceof JobEvent.Warned warned) {
                warnOnce(warned.template());
              }
            });
  }

  /** Keeps what was measured of other strategies at a size, and tells which were left out. */
  private void compared(CurveFolder folder, CompareResult result) {
    for (CompareResult.LeftOut left : result.leftOut()) {
      warnOnce(leftOut(left.strategy().label(), result.layersOut(), left.template()));
    }
    folder.get(peersFile(result.layersOut()), () -> CompareJson.of(result));
  }

  /** The models of other strategies, with what the comparisons have warned of. */
  private List<Peer> peers(CurveFolder folder) {
    List<Peer> peers = new ArrayList<>();
    for (int depth : depths) {
      String name = peersFile(depth);
      JsonNode comparison = folder.find(name).orElseThrow();
      comparison.path("warnings").forEach(warning -> warnOnce(warning.asText()));
      for (JsonNode left : comparison.path("leftOut")) {
        warnOnce(leftOut(left.path("strategy").asText(), depth, left.path("reason").asText()));
      }
      peers.addAll(CurveJson.peers(folder.file(name), comparison, depth));
    }
    return peers;
  }

  private static String leftOut(String strategy, int depth, String why) {
    return strategy + " at " + label(depth) + ": " + why;
  }

  /** Sends a warning that sweep and comparison, or several sizes, may have in common. */
  private void warnOnce(String template) {
    if (!warnings().contains(new JobEvent.Warned(template).message())) {
      warn(template);
    }
  }
}
