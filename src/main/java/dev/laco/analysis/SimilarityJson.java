package dev.laco.analysis;

import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.laco.analysis.SimilarityResult.Removals;
import dev.laco.analysis.SimilarityResult.Span;
import dev.laco.analysis.SimilarityResult.States;
import dev.laco.analysis.SimilarityResult.Update;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * What was measured of the layers of a model as JSON. The keys are a contract: other tools read
 * them. What is not a number is null.
 */
public final class SimilarityJson {
  private SimilarityJson() {}

  /** The whole result; what was not measured is left out. */
  public static ObjectNode of(SimilarityResult result) {
    ObjectNode json = JsonNodeFactory.instance.objectNode();
    json.put("model", result.model().toString());
    json.put("layers", result.layers());
    if (result.text() != null) {
      json.put("text", result.text());
    }
    if (!result.parameters().isEmpty()) {
      ObjectNode parameters = json.putObject("parameters");
      result
          .parameters()
          .forEach(
              (role, found) -> {
                ObjectNode values = parameters.putObject(role);
                put(values, "cosine", found.cosine());
                put(values, "distance", found.distance());
              });
    }
    if (result.states() != null) {
      json.set("states", of(result.states()));
    }
    if (result.removals() != null) {
      json.set("removals", of(result.removals()));
    }
    return json;
  }

  private static ObjectNode of(States states) {
    ObjectNode json = JsonNodeFactory.instance.objectNode();
    json.put("tokens", states.tokens());
    put(json, "cosine", states.cosine());
    put(json, "flattened", states.flattened());
    put(json, "angular", states.angular());
    put(json, "cka", states.cka());
    put(json.putArray("norms"), states.norms());
    ArrayNode layers = json.putArray("layers");
    for (Update update : states.updates()) {
      ObjectNode layer = layers.addObject();
      layer.put("blockInfluence", update.blockInfluence());
      layer.put("attention", update.attention());
      layer.put("feedForward", update.feedForward());
      layer.put("attentionShare", update.attentionShare());
    }
    return json;
  }

  private static ObjectNode of(Removals removals) {
    ObjectNode json = JsonNodeFactory.instance.objectNode();
    json.put("nll", removals.nll());
    ArrayNode spans = json.putArray("spans");
    for (Span span : removals.spans()) {
      ObjectNode entry = spans.addObject();
      entry.put("first", span.first());
      entry.put("layers", span.layers());
      entry.put("nll", finite(span.nll()));
      entry.put("kl", finite(span.kl()));
      entry.put("similarity", finite(span.similarity()));
    }
    return json;
  }

  private static void put(ObjectNode json, String key, LayerMatrix matrix) {
    ArrayNode rows = json.putArray(key);
    matrix.rows().forEach(row -> put(rows.addArray(), row));
  }

  private static void put(ArrayNode array, List<Double> values) {
    values.forEach(value -> array.add(finite(value)));
  }

  private static @Nullable Double finite(double value) {
    return Double.isFinite(value) ? value : null;
  }
}
