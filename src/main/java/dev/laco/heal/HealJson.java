package dev.laco.heal;

import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.laco.report.Fidelity;
import dev.laco.report.ReportJson;

/** The report of a heal as JSON. The keys are a contract: other tools read them. */
public final class HealJson {
  private HealJson() {}

  /** The JSON of a report. */
  public static ObjectNode of(HealReport report) {
    ObjectNode json = JsonNodeFactory.instance.objectNode();
    json.set("request", report.request().toJson());
    json.put("device", report.device());
    json.set("training", ReportJson.of(report.training()));
    HealReport.Quality quality = report.quality();
    if (quality != null) {
      ObjectNode measured = json.putObject("quality").put("text", quality.text());
      measured.put("dense", quality.dense().perplexity());
      put(measured.putObject("before"), quality.before());
      put(measured.putObject("after"), quality.after());
    }
    return json;
  }

  private static void put(ObjectNode json, Fidelity fidelity) {
    json.put("perplexity", fidelity.perplexity().perplexity())
        .put("kl", fidelity.divergence())
        .put("similarity", fidelity.similarity());
  }
}
