package dev.laco.report;

import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.laco.fit.CarryOver;
import dev.laco.fit.FitRule;
import java.util.List;
import java.util.Locale;

/**
 * How weights were fitted.
 *
 * @param text what they were fitted on
 * @param tokens of it; 0 where the model was better without
 * @param strength factor on the regularisation of solves that was best on documents held out
 * @param solver what solved the systems, and where
 * @param contenders models that were compared on documents held out
 * @param result every matrix, and what ever more of the text was worth
 * @param choiceSeconds that the comparison took
 * @param fitSeconds that the fit on all tokens took
 */
public record FitReport(
    FitRule rule,
    String text,
    int tokens,
    double strength,
    String solver,
    List<Contender> contenders,
    CarryOver.Result result,
    double choiceSeconds,
    double fitSeconds) {
  public FitReport {
    contenders = List.copyOf(contenders);
  }

  /**
   * A model among which the best was chosen.
   *
   * @param layers original indices of its layers
   * @param fitted false for the search's own model as it was
   * @param meanNll on the documents held out, nats
   */
  public record Contender(List<Integer> layers, boolean fitted, double meanNll) {
    public Contender {
      layers = List.copyOf(layers);
    }
  }

  ObjectNode toJson() {
    ObjectNode json = JsonNodeFactory.instance.objectNode();
    json.put("rule", rule.label());
    json.put("text", text);
    json.put("tokens", tokens);
    json.put("strength", strength);
    json.put("solver", solver);
    json.put("finalNorm", result.finalNorm());
    json.put("choiceSeconds", choiceSeconds);
    json.put("fitSeconds", fitSeconds);
    ArrayNode compared = json.putArray("contenders");
    for (Contender contender : contenders) {
      ObjectNode one = compared.addObject();
      contender.layers().forEach(one.putArray("layers")::add);
      one.put("fitted", contender.fitted());
      one.put("meanNll", contender.meanNll());
    }
    ArrayNode matrices = json.putArray("matrices");
    for (CarryOver.Fitted matrix : result.fitted()) {
      matrices
          .addObject()
          .put("layer", matrix.layer())
          .put("matrix", matrix.role().name().toLowerCase(Locale.ROOT))
          .put("followers", matrix.followers())
          .put("lambda", matrix.lambda())
          .put("error", matrix.error());
    }
    ArrayNode left = json.putArray("leftAlone");
    for (CarryOver.LeftAlone matrix : result.leftAlone()) {
      left.addObject()
          .put("layer", matrix.layer())
          .put("matrix", matrix.role().name().toLowerCase(Locale.ROOT));
    }
    ArrayNode learned = json.putArray("learningCurve");
    for (CarryOver.Learned point : result.curve()) {
      learned.addObject().put("tokens", point.tokens()).put("error", point.error());
    }
    return json;
  }
}
