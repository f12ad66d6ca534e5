package dev.laco.evaluate;

import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.laco.report.Perplexity;
import dev.laco.report.ReportJson;
import java.util.List;

/** The result of an evaluation as JSON. The keys are a contract: other tools read them. */
public final class EvaluateJson {
  private EvaluateJson() {}

  /**
   * {@code {"tokens":…,"meanNll":…,"perplexity":…,"bytePerplexity":…,"bitsPerByte":…,
   * "byPart":[…]}}, the perplexity of each document or window last, and those of a byte not of
   * token lists, and of other models in {@code against} the same with {@code model} and {@code
   * {"comparison":{"ratio":…,"low":…,"high":…,"parts":…,"part":"window"}}}; {@code
   * {"lastWord":{…}}}, and of other models in {@code against} the same with {@code model} and
   * {@code comparison} as of a metric of a task; or of tasks what {@link HarnessJson} says, and of
   * a sample {@code {"sample":{"within":…,"seconds":…,"items":…,"of":…,"seed":…}}}, and where it
   * was asked for {@code {"perplexity":{…}}} as of a text, and {@code {"throughput":{…}}}.
   */
  public static ObjectNode of(EvaluateResult result) {
    return switch (result) {
      case EvaluateResult.OfText text -> of(text);
      case EvaluateResult.OfThroughput throughput -> {
        ObjectNode json = JsonNodeFactory.instance.objectNode();
        json.set("throughput", of(throughput));
        yield json;
      }
      case EvaluateResult.OfPassages passages -> {
        ObjectNode json = JsonNodeFactory.instance.objectNode();
        json.set("lastWord", ReportJson.of(passages.lastWord()));
        if (!passages.against().isEmpty()) {
          ArrayNode against = json.putArray("against");
          for (LastWordComparison comparison : passages.against()) {
            ObjectNode one = against.addObject().put("model", comparison.pruned().toString());
            one.set("lastWord", ReportJson.of(comparison.lastWord()));
            put(one.putObject("comparison"), comparison.shares());
          }
        }
        yield json;
      }
      case EvaluateResult.OfTasks tasks -> {
        ObjectNode json = of(tasks.results(), tasks.groups());
        if (!tasks.against().isEmpty()) {
          ArrayNode against = json.putArray("against");
          for (TaskComparison comparison : tasks.against()) {
            ObjectNode one =
                against.addObject().put("model", comparison.pruned().model().toString());
            one.setAll(of(comparison.pruned(), tasks.groups()));
            one.set("comparison", of(comparison));
          }
        }
        ItemSample sample = tasks.sample();
        if (sample != null) {
          json.putObject("sample")
              .put("within", sample.within())
              .put("seconds", sample.seconds())
              .put("items", sample.items())
              .put("of", sample.of())
              .put("seed", ItemSample.SEED);
        }
        if (tasks.text() != null) {
          json.set("perplexity", of(tasks.text()));
        }
        if (tasks.throughput() != null) {
          json.set("throughput", of(tasks.throughput()));
        }
        yield json;
      }
    };
  }

  private static ObjectNode of(EvaluateResult.OfText text) {
    ObjectNode json = of(text, text.perplexity(), text.parts());
    if (!text.against().isEmpty()) {
      ArrayNode against = json.putArray("against");
      for (TextComparison comparison : text.against()) {
        ObjectNode one = against.addObject().put("model", comparison.pruned().toString());
        one.setAll(of(text, comparison.perplexity(), comparison.parts()));
        ObjectNode compared = one.putObject("comparison").put("ratio", comparison.ratio());
        Interval interval = comparison.interval();
        if (interval != null) {
          compared.put("low", interval.low()).put("high", interval.high());
        }
        compared.put("parts", text.parts().count()).put("part", text.part());
      }
    }
    return json;
  }

  private static ObjectNode of(EvaluateResult.OfThroughput throughput) {
    ObjectNode json = JsonNodeFactory.instance.objectNode();
    json.put("promptTokens", throughput.promptTokens());
    json.put("writtenTokens", throughput.writtenTokens());
    ArrayNode models = json.putArray("models");
    for (Throughput one : throughput.models()) {
      ObjectNode model = models.addObject().put("model", one.model().toString());
      put(model.putObject("prefill"), one.prefill());
      put(model.putObject("decoding"), one.decoding());
      model.put("weightBytes", one.weightBytes()).put("cacheBytesPerToken", one.cacheBytes());
      model.put("cacheBytesAt" + Throughput.CONTEXT, one.contextBytes());
    }
    return json;
  }

  private static void put(ObjectNode json, Throughput.Rate rate) {
    json.put("tokensPerSecond", rate.tokensPerSecond());
    Interval interval = rate.interval();
    if (interval != null) {
      json.put("speedup", rate.speedup());
      json.put("low", interval.low()).put("high", interval.high());
    }
  }

  private static ObjectNode of(EvaluateResult.OfText text, Perplexity perplexity, Metric parts) {
    ObjectNode json = ReportJson.of(perplexity);
    if (text.tokensPerByte() > 0) {
      double bits = text.bitsPerByte(perplexity);
      json.put("bytePerplexity", Math.pow(2, bits)).put("bitsPerByte", bits);
    }
    ArrayNode byPart = json.putArray("byPart");
    for (int part = 0; part < parts.count(); part++) {
      byPart.add(parts.valueOf(part));
    }
    return json;
  }

  /** The results of one model at tasks, as {@link HarnessJson} says. */
  public static ObjectNode of(TaskResults results, List<Task.Group> groups) {
    return HarnessJson.of(results, groups);
  }

  /**
   * A comparison: {@code {"tasks":{"piqa":{"acc":{"dense":…,"pruned":…,"low":…,"high":…,"kept":…,
   * "keptBeyondChance":…,"lost":…,"won":…,"mcNemarP":…}}},"groups":{"qa5":{"acc":{"dense":…,
   * "pruned":…,"ratioOfMeans":…,"meanOfRatios":…,"keptBeyondChance":…}}}}}. What is no finite
   * number is left out.
   */
  public static ObjectNode of(TaskComparison comparison) {
    ObjectNode json = JsonNodeFactory.instance.objectNode();
    ObjectNode tasks = json.putObject("tasks");
    for (TaskComparison.OfTask task : comparison.tasks()) {
      ObjectNode metrics = tasks.putObject(task.task().name());
      for (PairedComparison metric : task.metrics()) {
        put(metrics.putObject(metric.metric()), metric);
      }
    }
    ObjectNode groups = json.putObject("groups");
    for (TaskComparison.OfGroup group : comparison.groups()) {
      ObjectNode mean = groups.putObject(group.group().name()).putObject(Metric.ACCURACY);
      put(mean, "dense", group.dense());
      put(mean, "pruned", group.pruned());
      put(mean, "ratioOfMeans", group.ratioOfMeans());
      put(mean, "meanOfRatios", group.meanOfRatios());
      put(mean, "keptBeyondChance", group.keptBeyondChance());
    }
    return json;
  }

  private static void put(ObjectNode json, PairedComparison metric) {
    put(json, "dense", metric.dense());
    put(json, "pruned", metric.pruned());
    put(json, "low", metric.interval().low());
    put(json, "high", metric.interval().high());
    put(json, "kept", metric.kept());
    McNemar flips = metric.flips();
    if (flips != null) {
      put(json, "keptBeyondChance", metric.keptBeyondChance());
      json.put("lost", flips.lost()).put("won", flips.won());
      put(json, "mcNemarP", flips.pValue());
    }
  }

  private static void put(ObjectNode json, String key, double value) {
    if (Double.isFinite(value)) {
      json.put(key, value);
    }
  }
}
