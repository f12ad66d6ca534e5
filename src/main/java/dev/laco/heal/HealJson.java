package dev.laco.heal;

import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.laco.report.Fidelity;
import dev.laco.report.TrainingMeasurement;
import dev.laco.report.TrainingStep;

/** The report of a heal as JSON. The keys are a contract: other tools read them. */
public final class HealJson {
  private HealJson() {}

  /** The JSON of a report. */
  public static ObjectNode of(HealReport report) {
    ObjectNode json = JsonNodeFactory.instance.objectNode();
    json.set("request", report.request().toJson());
    json.put("device", report.device());
    HealEvent.Started started = report.started();
    json.putObject("training")
        .put("text", started.text())
        .put("tokens", started.tokens())
        .put("steps", started.steps())
        .put("firstLayer", started.firstLayer())
        .put("layers", started.layers())
        .put("parameters", started.parameters())
        .put("rate", started.rate())
        .put("seconds", report.trainSeconds());
    ArrayNode losses = json.putArray("losses");
    for (TrainingStep step : report.steps()) {
      losses
          .addObject()
          .put("step", step.number())
          .put("tokens", step.tokens())
          .put("loss", step.loss())
          .put("gradientNorm", step.gradientNorm());
    }
    ArrayNode heldOut = json.putArray("heldOut");
    report.measurements().forEach(measurement -> heldOut.add(of(measurement)));
    json.set("best", of(report.best()));
    HealReport.Quality quality = report.quality();
    if (quality != null) {
      ObjectNode measured = json.putObject("quality").put("text", quality.text());
      measured.put("dense", quality.dense().perplexity());
      put(measured.putObject("before"), quality.before());
      put(measured.putObject("after"), quality.after());
    }
    return json;
  }

  private static ObjectNode of(TrainingMeasurement measurement) {
    return JsonNodeFactory.instance
        .objectNode()
        .put("step", measurement.step())
        .put("tokens", measurement.tokens())
        .put("kl", measurement.divergence())
        .put("nll", measurement.nll());
  }

  private static void put(ObjectNode json, Fidelity fidelity) {
    json.put("perplexity", fidelity.perplexity().perplexity())
        .put("kl", fidelity.divergence())
        .put("similarity", fidelity.similarity());
  }
}
