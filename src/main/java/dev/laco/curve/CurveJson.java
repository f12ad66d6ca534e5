package dev.laco.curve;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.laco.curve.CurveResult.Dense;
import dev.laco.curve.CurveResult.Peer;
import dev.laco.curve.CurveResult.Point;
import dev.laco.model.JsonFields;
import dev.laco.report.Fidelity;
import dev.laco.report.Perplexity;
import dev.laco.report.ReportJson;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;

/** A curve over sizes as JSON. The keys are a contract: other tools read them. */
public final class CurveJson {
  private CurveJson() {}

  /** The whole result. */
  public static ObjectNode of(CurveResult result) {
    ObjectNode json = JsonNodeFactory.instance.objectNode();
    json.put("model", result.model().toString());
    json.put("text", result.text());
    json.set("dense", of(result.dense()));
    ArrayNode points = json.putArray("points");
    for (Point point : result.points()) {
      ObjectNode entry = of(point);
      entry.put("ratio", result.ratio(point.fidelity()));
      points.add(entry);
    }
    ArrayNode peers = json.putArray("peers");
    for (Peer peer : result.peers()) {
      ObjectNode entry = of(peer.fidelity());
      entry.put("layers", peer.layers());
      entry.put("strategy", peer.strategy());
      entry.put("ratio", result.ratio(peer.fidelity()));
      peers.add(entry);
    }
    result.knee().ifPresent(knee -> json.put("knee", knee.layers()));
    result.warnings().forEach(json.putArray("warnings")::add);
    return json;
  }

  static ObjectNode of(Dense dense) {
    ObjectNode json = JsonNodeFactory.instance.objectNode();
    json.put("layers", dense.layers());
    json.put("bytes", dense.bytes());
    json.set("measured", ReportJson.of(dense.perplexity()));
    return json;
  }

  static ObjectNode of(Point point) {
    ObjectNode json = of(point.fidelity());
    json.put("layers", point.layers());
    json.put("kept", point.kept());
    json.put("bytes", point.bytes());
    json.put("tokensPerSecond", point.tokensPerSecond());
    json.put("speedup", point.speedup());
    json.put("plan", point.plan());
    return json;
  }

  static Dense dense(Path file, JsonNode json) {
    JsonFields fields = new JsonFields(file.toString(), json);
    return new Dense(
        fields.requiredPositive("layers"),
        (long) fields.requiredNumber("bytes"),
        perplexity(file, json.path("measured")));
  }

  static Point point(Path file, JsonNode json) {
    JsonFields fields = new JsonFields(file.toString(), json);
    return new Point(
        fields.requiredPositive("layers"),
        fields.stringOr("kept", ""),
        (long) fields.requiredNumber("bytes"),
        fidelity(file, json, "measured"),
        fields.requiredNumber("tokensPerSecond"),
        fields.requiredNumber("speedup"),
        fields.stringOr("plan", ""));
  }

  /** The rows of a comparison at a size. */
  static List<Peer> peers(Path file, JsonNode comparison, int layers) {
    List<Peer> peers = new ArrayList<>();
    for (JsonNode row : comparison.path("strategies")) {
      String strategy = new JsonFields(file.toString(), row).stringOr("strategy", "");
      peers.add(new Peer(layers, strategy, fidelity(file, row, "pruned")));
    }
    peers.sort(Comparator.comparing(Peer::strategy));
    return peers;
  }

  private static Fidelity fidelity(Path file, JsonNode json, String measured) {
    JsonFields fields = new JsonFields(file.toString(), json);
    return new Fidelity(
        fields.requiredNumber("similarity"),
        fields.requiredNumber("kl"),
        perplexity(file, json.path(measured)));
  }

  private static Perplexity perplexity(Path file, JsonNode json) {
    JsonFields fields = new JsonFields(file.toString(), json);
    return new Perplexity((long) fields.requiredNumber("tokens"), fields.requiredNumber("meanNll"));
  }

  private static ObjectNode of(Fidelity fidelity) {
    ObjectNode json = JsonNodeFactory.instance.objectNode();
    json.put("similarity", fidelity.similarity());
    json.put("kl", fidelity.divergence());
    json.set("measured", ReportJson.of(fidelity.perplexity()));
    return json;
  }
}
