package dev.laco.report;

import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.laco.collapse.KeptLayers;
import dev.laco.collapse.Score;
import dev.laco.collapse.SearchResult;
import dev.laco.collapse.Trial;
import dev.laco.collapse.Work;
import dev.laco.eval.LastWord;
import dev.laco.eval.Perplexity;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.Collections;
import java.util.List;
import java.util.SortedMap;
import java.util.TreeMap;
import org.jspecify.annotations.Nullable;

/**
 * What a prune did, as {@code report.json}. Its keys are a contract: other tools read them.
 *
 * @param origin by what and when it was made
 * @param jobId the same for the same request of the same weights
 * @param request what was asked for; a request file asks for the same
 * @param model what was pruned
 * @param settings what was in force, by name; a threshold that was found is added
 * @param device where the search ran
 * @param parametersIn parameters of the original, tied ones once
 * @param fit null where nothing was fitted
 * @param work what the search took; its passes are the report's {@code sweeps}
 * @param warnings what a user was warned of
 */
public record PruneReport(
    Origin origin,
    String jobId,
    ObjectNode request,
    Original model,
    ObjectNode settings,
    String device,
    SearchResult result,
    long parametersIn,
    long parametersOut,
    Quality quality,
    @Nullable FitReport fit,
    Work work,
    List<String> warnings,
    Timings timings) {
  private static final double EIGHT_DIGITS = 1e8;

  public PruneReport {
    warnings = List.copyOf(warnings);
  }

  /**
   * By what and when a report was made.
   *
   * @param version of laco
   * @param date when the run began
   * @param command arguments of the command line
   */
  public record Origin(String version, Instant date, List<String> command) {
    public Origin {
      command = List.copyOf(command);
    }
  }

  /**
   * The model that was pruned.
   *
   * @param path folder of the checkpoint
   * @param architecture the first of the class names in its config
   * @param modelType {@code model_type} of its config
   * @param dtype element types of its weights
   * @param bytes of its weights
   * @param digest of its config and of name, type and shape of its tensors
   */
  public record Original(
      String path, String architecture, String modelType, String dtype, long bytes, String digest) {
    ObjectNode toJson() {
      return JsonNodeFactory.instance
          .objectNode()
          .put("path", path)
          .put("architecture", architecture)
          .put("modelType", modelType)
          .put("dtype", dtype)
          .put("bytes", bytes)
          .put("digest", digest);
    }
  }

  /** Perplexity before and after, or why there is none. */
  public sealed interface Quality {}

  /** Measured on {@code text}, which names where it came from. */
  public record Measured(String text, Perplexity dense, Perplexity pruned) implements Quality {}

  /** Not measured, and why. */
  public record NotMeasured(String reason) implements Quality {}

  /**
   * Seconds; {@code write} is null where nothing was written.
   *
   * @param total of the whole run, until the report was made
   * @param productRates operations a second of the device's matrix products, by their type
   */
  public record Timings(
      double load,
      double search,
      @Nullable Double write,
      double total,
      SortedMap<String, Double> productRates) {
    public Timings {
      productRates = Collections.unmodifiableSortedMap(new TreeMap<>(productRates));
    }
  }

  /** The report as JSON. */
  public ObjectNode toJson() {
    ObjectNode json = JsonNodeFactory.instance.objectNode();
    json.put("laco", origin.version());
    json.put("date", origin.date().truncatedTo(ChronoUnit.SECONDS).toString());
    origin.command().forEach(json.putArray("command")::add);
    json.put("jobId", jobId);
    json.set("request", request);
    json.set("model", model.toJson());
    json.set("settings", settingsJson());
    json.put("device", device);
    json.put("layersIn", result.plan().source().layers());
    json.put("layersOut", result.plan().depth());
    KeptLayers layers = KeptLayers.of(result.plan());
    layers.kept().forEach(json.putArray("layersKept")::add);
    ObjectNode merged = json.putObject("layersMerged");
    layers
        .merged()
        .forEach((base, others) -> others.forEach(merged.putArray(Integer.toString(base))::add));
    layers.removed().forEach(json.putArray("layersRemoved")::add);
    json.put("parametersIn", parametersIn);
    json.put("parametersOut", parametersOut);
    json.putObject("search").put("endedBy", result.cutShort() ? "budget" : "completion");
    ArrayNode trials = json.putArray("trials");
    result.trials().forEach(trial -> trials.add(trialJson(trial)));
    json.set("plan", result.plan().toJson());
    json.set("quality", qualityJson());
    if (fit != null) {
      json.set("fit", fit.toJson());
    }
    json.put("finalSimilarity", eightDigits(result.finalSimilarity()));
    putLanguage(json, "finalNll", "finalKl", result.score());
    warnings.forEach(json.putArray("warnings")::add);
    ObjectNode times = json.putObject("timings");
    times.put("loadSeconds", timings.load());
    times.put("searchSeconds", timings.search());
    times.put("writeSeconds", timings.write());
    times.put("totalSeconds", timings.total());
    timings.productRates().forEach(times.putObject("productRates")::put);
    times.put("sweeps", work.passes());
    times.put("rescored", work.rescored());
    times
        .putObject("work")
        .put("passes", work.passes())
        .put("bytesRead", work.bytesRead())
        .put("operations", work.operations())
        .put("floorOperations", work.floorOperations())
        .put("floorBytes", work.floorBytes());
    return json;
  }

  private ObjectNode settingsJson() {
    return settings.deepCopy().put("threshold", result.threshold());
  }

  private static ObjectNode trialJson(Trial trial) {
    ObjectNode json = JsonNodeFactory.instance.objectNode();
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

  /** What is behind them is noise of the arithmetic. */
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

  private ObjectNode qualityJson() {
    ObjectNode json = JsonNodeFactory.instance.objectNode();
    switch (quality) {
      case Measured measured -> {
        json.put("text", measured.text());
        json.set("dense", toJson(measured.dense()));
        json.set("pruned", toJson(measured.pruned()));
      }
      case NotMeasured not -> json.put("notMeasured", not.reason());
    }
    return json;
  }

  /** {@code {"tokens":…,"meanNll":…,"perplexity":…}}. */
  public static ObjectNode toJson(Perplexity perplexity) {
    return JsonNodeFactory.instance
        .objectNode()
        .put("tokens", perplexity.tokens())
        .put("meanNll", perplexity.meanNll())
        .put("perplexity", perplexity.perplexity());
  }

  /** {@code {"items":…,"accuracy":…,"standardError":…}}. */
  public static ObjectNode toJson(LastWord lastWord) {
    return JsonNodeFactory.instance
        .objectNode()
        .put("items", lastWord.items())
        .put("accuracy", lastWord.accuracy())
        .put("standardError", lastWord.standardError());
  }
}
