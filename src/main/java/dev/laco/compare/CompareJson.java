package dev.laco.compare;

import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.laco.collapse.Objective;
import dev.laco.report.LastWord;
import dev.laco.report.ReportJson;
import org.jspecify.annotations.Nullable;

/** The result of a comparison as JSON. The keys are a contract: other tools read them. */
public final class CompareJson {
  private CompareJson() {}

  /** The whole result. */
  public static ObjectNode of(CompareResult result) {
    ObjectNode json = JsonNodeFactory.instance.objectNode();
    json.put("model", result.model().toString());
    json.put("layersIn", result.layersIn());
    json.put("layersOut", result.layersOut());
    json.put("text", result.text());
    json.set("dense", ReportJson.of(result.dense()));
    putLastWord(json, "denseLastWord", result.denseLastWord());
    ArrayNode strategies = json.putArray("strategies");
    result.rows().forEach(row -> strategies.add(of(result, row)));
    ArrayNode leftOut = json.putArray("leftOut");
    for (CompareResult.LeftOut left : result.leftOut()) {
      leftOut.addObject().put("strategy", left.strategy().label()).put("reason", left.reason());
    }
    result.warnings().forEach(json.putArray("warnings")::add);
    return json;
  }

  private static ObjectNode of(CompareResult result, CompareResult.Row row) {
    ObjectNode json = JsonNodeFactory.instance.objectNode();
    json.put("strategy", row.strategy().label());
    json.put("similarity", row.fidelity().similarity());
    json.put("kl", row.fidelity().divergence());
    json.set("pruned", ReportJson.of(row.fidelity().perplexity()));
    json.put("ratio", result.ratio(row));
    putLastWord(json, "lastWord", row.lastWord());
    ObjectNode calibration = json.putObject("calibration");
    calibration.put("similarity", row.score().mean());
    calibration.put("kl", Objective.KL.measured(row.score()));
    calibration.put("nll", Objective.NLL.measured(row.score()));
    json.put("seconds", row.seconds());
    json.set("plan", row.plan().toJson());
    return json;
  }

  private static void putLastWord(ObjectNode json, String key, @Nullable LastWord words) {
    if (words != null) {
      json.set(key, ReportJson.of(words));
    }
  }
}
