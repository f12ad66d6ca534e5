package dev.laco.report;

import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.laco.collapse.BlockCost;
import dev.laco.collapse.KeptLayers;
import dev.laco.collapse.NormsPolicy;
import dev.laco.collapse.Score;
import dev.laco.collapse.SearchResult;
import dev.laco.collapse.Trial;
import dev.laco.collapse.Work;
import java.time.temporal.ChronoUnit;
import java.util.Locale;
import org.jspecify.annotations.Nullable;

/** Reports as JSON. The keys are a contract, docs/report.schema.json: other tools read them. */
public final class ReportJson {
  private static final double EIGHT_DIGITS = 1e8;

  private ReportJson() {}

  /** The report of a prune. */
  public static ObjectNode of(PruneReport report) {
    ObjectNode json = object();
    json.put("laco", report.origin().version());
    json.put("date", report.origin().date().truncatedTo(ChronoUnit.SECONDS).toString());
    report.origin().command().forEach(json.putArray("command")::add);
    json.put("jobId", report.jobId());
    json.set("request", report.request().toJson());
    json.set("model", of(report.model()));
    json.set("settings", of(report.settings()));
    json.put("device", report.device());
    json.put("memory", report.memory());
    putLayers(json, report);
    json.put("parametersIn", report.parametersIn());
    json.put("parametersOut", report.parametersOut());
    json.put("bytesOut", report.bytesOut());
    SearchResult search = report.search();
    json.putObject("search").put("endedBy", search.cutShort() ? "budget" : "completion");
    ArrayNode trials = json.putArray("trials");
    search.trials().forEach(trial -> trials.add(of(trial)));
    if (!search.blocks().isEmpty()) {
      ArrayNode blocks = json.putArray("blocks");
      search.blocks().forEach(cost -> blocks.add(of(cost)));
    }
    json.set("plan", report.plan().toJson());
    json.set("quality", of(report.quality()));
    if (report.fit() != null) {
      json.set("fit", of(report.fit()));
    }
    if (report.choice() != null) {
      json.set("choice", of(report.choice()));
    }
    if (report.heal() != null) {
      json.set("heal", of(report.heal()));
    }
    json.put("finalSimilarity", eightDigits(search.finalSimilarity()));
    putLanguage(json, "finalNll", "finalKl", search.score());
    report.warnings().forEach(json.putArray("warnings")::add);
    json.set("timings", of(report.timings(), report.work()));
    return json;
  }

  /** What a training did. */
  public static ObjectNode of(TrainingReport training) {
    TrainingStart start = training.start();
    ObjectNode json =
        object()
            .put("text", start.text())
            .put("samples", start.samples())
            .put("tokens", start.tokens())
            .put("steps", start.steps())
            .put("firstLayer", start.firstLayer())
            .put("layers", start.layers())
            .put("parameters", start.parameters())
            .put("rate", start.rate())
            .put("labelShare", start.labelShare())
            .put("seconds", training.seconds())
            .put("originalNll", training.originalNll());
    if (start.lora() != null) {
      json.put("lora", start.lora());
    }
    if (start.labelPasses() != null) {
      json.put("labelPasses", start.labelPasses());
    }
    ArrayNode rates = json.putArray("rates");
    start
        .rates()
        .forEach(
            t ->
                rates
                    .addObject()
                    .put("steps", t.steps())
                    .put("rate", t.rate())
                    .put("loss", finiteOrNull(t.loss())));
    ArrayNode losses = json.putArray("losses");
    for (TrainingStep step : training.steps()) {
      losses
          .addObject()
          .put("step", step.number())
          .put("tokens", step.tokens())
          .put("loss", step.loss())
          .put("gradientNorm", step.gradientNorm());
    }
    ArrayNode heldOut = json.putArray("heldOut");
    training.measurements().forEach(measurement -> heldOut.add(of(measurement)));
    json.set("best", of(training.best()));
    return json;
  }

  private static ObjectNode of(TrainingMeasurement measurement) {
    ObjectNode json =
        object()
            .put("step", measurement.step())
            .put("tokens", measurement.tokens())
            .put("kl", finiteOrNull(measurement.divergence()))
            .put("nll", finiteOrNull(measurement.nll()));
    ObjectNode domains = json.putObject("domains");
    measurement
        .domains()
        .forEach(
            (domain, distance) ->
                domains
                    .putObject(domain)
                    .put("tokens", distance.tokens())
                    .put("kl", finiteOrNull(distance.divergence()))
                    .put("nll", finiteOrNull(distance.nll())));
    return json;
  }

  /** {@code {"tokens":…,"meanNll":…,"perplexity":…}}. */
  public static ObjectNode of(Perplexity perplexity) {
    return object()
        .put("tokens", perplexity.tokens())
        .put("meanNll", perplexity.meanNll())
        .put("perplexity", perplexity.perplexity());
  }

  /** {@code {"items":…,"accuracy":…,"standardError":…}}. */
  public static ObjectNode of(LastWord lastWord) {
    return object()
        .put("items", lastWord.items())
        .put("accuracy", lastWord.accuracy())
        .put("standardError", lastWord.standardError());
  }

  private static ObjectNode of(PruneReport.Original model) {
    return object()
        .put("path", model.path())
        .put("architecture", model.architecture())
        .put("modelType", model.modelType())
        .put("dtype", model.dtype())
        .put("bytes", model.bytes())
        .put("digest", model.digest());
  }

  private static ObjectNode of(PruneSettings settings) {
    ObjectNode json = object();
    switch (settings.search()) {
      case PruneSettings.PaperLoop loop -> {
        json.put("mergeLayers", loop.mergeLayers()).put("interval", loop.interval());
        putSpans(json, loop.lowest(), loop.highest(), settings, loop.norms());
        putSearch(json, "laco", loop.targetLayers(), loop.budget());
      }
      case PruneSettings.BestMerges best -> {
        json.put("mergeLayers", best.mergeLayers());
        if (best.align() > 1) {
          json.put("align", best.align());
        }
        putSpans(json, best.lowest(), best.highest(), settings, best.norms());
        putSearch(json, best.isGreedy() ? "greedy" : "beam", best.targetLayers(), best.budget());
        json.put("beamWidth", best.beamWidth()).put("objective", best.objective().optionValue());
      }
      case PruneSettings.Blocks blocks -> {
        if (blocks.settings().align() > 1) {
          json.put("align", blocks.settings().align());
        }
        json.put("lowest", blocks.settings().lowest())
            .put("highest", blocks.settings().highest())
            .put("rule", settings.rule());
        putSearch(json, "blocks", blocks.targetLayers(), null);
      }
      case PruneSettings.GivenPlan given ->
          json.put("fromPlan", given.file().toString()).put("rule", settings.rule());
    }
    json.put("compute", lowercase(settings.compute()))
        .put("products", settings.products().shortName())
        .put("calibration", settings.calibration().text())
        .put("calibrationSentences", settings.calibration().sentences())
        .put("calibrationTokens", settings.calibration().tokens());
    PruneSettings.Fit fit = settings.fit();
    if (fit != null) {
      json.put("fitRule", fit.rule().label())
          .put("fitText", fit.text())
          .put("fitTokens", fit.tokens());
    }
    // Of a search in its place already.
    return json.put("threshold", settings.threshold());
  }

  private static void putSpans(
      ObjectNode json,
      int lowest,
      int highest,
      PruneSettings settings,
      @Nullable NormsPolicy norms) {
    json.put("lowest", lowest)
        .put("highest", highest)
        .put("threshold", settings.threshold())
        .put("rule", settings.rule())
        .put("norms", norms == null ? "rule" : norms.optionValue());
  }

  private static void putSearch(
      ObjectNode json, String search, @Nullable Integer targetLayers, @Nullable String budget) {
    json.put("search", search);
    if (targetLayers != null) {
      json.put("targetLayers", targetLayers);
    }
    if (budget != null) {
      json.put("searchBudget", budget);
    }
  }

  private static void putLayers(ObjectNode json, PruneReport report) {
    json.put("layersIn", report.plan().source().layers());
    json.put("layersOut", report.plan().depth());
    KeptLayers layers = report.layers();
    layers.kept().forEach(json.putArray("layersKept")::add);
    ObjectNode merged = json.putObject("layersMerged");
    layers
        .merged()
        .forEach((base, others) -> others.forEach(merged.putArray(Integer.toString(base))::add));
    layers.removed().forEach(json.putArray("layersRemoved")::add);
  }

  private static ObjectNode of(BlockCost cost) {
    return object()
        .put("from", cost.block().from())
        .put("to", cost.block().to())
        .put("unexplained", cost.unexplained())
        .put("divergence", cost.divergence());
  }

  private static ObjectNode of(Trial trial) {
    ObjectNode json = object();
    json.put("step", trial.step());
    json.put("base", trial.base());
    json.put("merged", trial.merged());
    json.put("layersBefore", trial.layersBefore());
    ArrayNode similarities = json.putArray("similarities");
    trial.score().similarities().forEach(value -> similarities.add(eightDigits(value)));
    json.put("mean", eightDigits(trial.score().mean()));
    json.put("accepted", trial.accepted());
    putLanguage(json, "nll", "kl", trial.score());
    Trial.Choice choice = trial.choice();
    if (choice != null) {
      json.put("rule", choice.rule().label());
      json.put("objective", choice.objective().measured(trial.score()));
      json.put("parent", choice.parent() == Trial.ORIGINAL ? null : choice.parent());
    }
    return json;
  }

  /** The digits behind the eighth are noise of the arithmetic. */
  private static double eightDigits(double similarity) {
    return Math.rint(similarity * EIGHT_DIGITS) / EIGHT_DIGITS;
  }

  private static void putLanguage(ObjectNode json, String nll, String kl, Score score) {
    Score.Language language = score.language();
    if (language != null) {
      json.put(nll, language.nll());
      if (language.kl() != null) {
        json.put(kl, language.kl());
      }
    }
  }

  /** A number of a training whose weights may have become too large; null where it is none. */
  private static @Nullable Double finiteOrNull(double value) {
    return Double.isFinite(value) ? value : null;
  }

  private static void putFinite(ObjectNode json, String key, double value) {
    if (Double.isFinite(value)) {
      json.put(key, value);
    }
  }

  private static ObjectNode of(PruneReport.Quality quality) {
    return switch (quality) {
      case PruneReport.Measured measured -> {
        ObjectNode json = object().put("text", measured.text());
        json.set("dense", of(measured.dense()));
        json.set("pruned", of(measured.pruned()));
        putFinite(json, "similarity", measured.fidelity().similarity());
        putFinite(json, "kl", measured.fidelity().divergence());
        ArrayNode byPosition = json.putArray("byPosition");
        for (PositionDivergence group : measured.byPosition()) {
          ObjectNode one =
              byPosition
                  .addObject()
                  .put("first", group.first())
                  .put("last", group.last())
                  .put("tokens", group.tokens());
          putFinite(one, "kl", group.divergence());
        }
        ArrayNode samples = json.putArray("samples");
        for (Sample sample : measured.samples()) {
          ObjectNode one =
              samples.addObject().put("prompt", sample.prompt()).put("same", sample.same());
          sample.original().forEach(one.putArray("original")::add);
          sample.pruned().forEach(one.putArray("pruned")::add);
        }
        yield json;
      }
      case PruneReport.NotMeasured not -> object().put("notMeasured", not.reason());
    };
  }

  private static ObjectNode of(FitReport fit) {
    ObjectNode json = object();
    json.put("rule", fit.rule().label());
    json.put("text", fit.text());
    json.put("tokens", fit.tokens());
    json.put("strength", fit.strength());
    json.put("solver", fit.solver());
    json.put("finalNorm", fit.finalNorm());
    FitReport.Norms norms = fit.norms();
    if (norms != null) {
      json.putObject("norms")
          .put("tokens", norms.tokens())
          .put("lossBefore", norms.lossBefore())
          .put("lossAfter", norms.lossAfter());
    }
    json.put("choiceSeconds", fit.choiceSeconds());
    json.put("fitSeconds", fit.fitSeconds());
    ArrayNode contenders = json.putArray("contenders");
    for (FitReport.Contender contender : fit.contenders()) {
      ObjectNode one = contenders.addObject();
      contender.layers().forEach(one.putArray("layers")::add);
      one.put("fitted", contender.fitted()).put("meanNll", contender.meanNll());
    }
    ArrayNode matrices = json.putArray("matrices");
    for (FitReport.Fitted matrix : fit.matrices()) {
      matrices
          .addObject()
          .put("layer", matrix.layer())
          .put("matrix", matrix.matrix())
          .put("followers", matrix.followers())
          .put("lambda", matrix.lambda())
          .put("error", matrix.error());
    }
    ArrayNode leftAlone = json.putArray("leftAlone");
    for (FitReport.LeftAlone matrix : fit.leftAlone()) {
      leftAlone.addObject().put("layer", matrix.layer()).put("matrix", matrix.matrix());
    }
    ArrayNode learningCurve = json.putArray("learningCurve");
    for (FitReport.Learned point : fit.learningCurve()) {
      learningCurve.addObject().put("tokens", point.tokens()).put("error", point.error());
    }
    return json;
  }

  private static ObjectNode of(ChoiceReport choice) {
    ObjectNode json = object();
    json.put("objective", choice.objective().optionValue());
    json.put("text", choice.text());
    json.put("tokens", choice.tokens());
    json.put("seconds", choice.seconds());
    ArrayNode contenders = json.putArray("contenders");
    for (ChoiceReport.Contender contender : choice.contenders()) {
      ObjectNode one = contenders.addObject();
      contender.layers().forEach(one.putArray("layers")::add);
      one.put("measured", contender.measured());
    }
    return json;
  }

  private static ObjectNode of(PruneReport.Healing heal) {
    ObjectNode json = object();
    ArrayNode stages = json.putArray("stages");
    for (PruneReport.Stage stage : heal.stages()) {
      stages
          .addObject()
          .put("stage", stage.name())
          .put("seconds", stage.seconds())
          .put("meanNll", stage.nll());
    }
    json.set("training", of(heal.training()));
    return json;
  }

  private static ObjectNode of(PruneReport.Timings timings, Work work) {
    ObjectNode json = object();
    json.put("loadSeconds", timings.load());
    json.put("searchSeconds", timings.search());
    json.put("writeSeconds", timings.write());
    json.put("totalSeconds", timings.total());
    timings.productRates().forEach(json.putObject("productRates")::put);
    json.put("sweeps", work.passes());
    json.put("rescored", work.rescored());
    json.putObject("work")
        .put("passes", work.passes())
        .put("bytesRead", work.bytesRead())
        .put("operations", work.operations())
        .put("floorOperations", work.floorOperations())
        .put("floorBytes", work.floorBytes());
    return json;
  }

  private static String lowercase(Enum<?> value) {
    return value.name().toLowerCase(Locale.ROOT);
  }

  private static ObjectNode object() {
    return JsonNodeFactory.instance.objectNode();
  }
}
