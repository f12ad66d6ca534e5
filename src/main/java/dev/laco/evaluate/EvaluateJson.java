package dev.laco.evaluate;

import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.laco.report.ReportJson;

/** The result of an evaluation as JSON. The keys are a contract: other tools read them. */
public final class EvaluateJson {
  private EvaluateJson() {}

  /**
   * {@code {"tokens":…,"meanNll":…,"perplexity":…}}, {@code {"lastWord":{…}}}, or of tasks what
   * {@link HarnessJson} says.
   */
  public static ObjectNode of(EvaluateResult result) {
    return switch (result) {
      case EvaluateResult.OfText text -> ReportJson.of(text.perplexity());
      case EvaluateResult.OfPassages passages -> {
        ObjectNode json = JsonNodeFactory.instance.objectNode();
        json.set("lastWord", ReportJson.of(passages.lastWord()));
        yield json;
      }
      case EvaluateResult.OfTasks tasks -> HarnessJson.of(tasks);
    };
  }
}
