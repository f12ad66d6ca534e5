package dev.laco.generate;

import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;

/** The result of a generation as JSON. The keys are a contract: other tools read them. */
public final class GenerateJson {
  private GenerateJson() {}

  /** How a model continued the prompt of a request. */
  public static ObjectNode of(GenerateRequest request, GenerateResult result) {
    ObjectNode json = JsonNodeFactory.instance.objectNode().put("prompt", request.prompt());
    if (request.chat()) {
      json.put("chat", true);
      if (request.system() != null) {
        json.put("system", request.system());
      }
    }
    return json.put("text", result.text())
        .put("promptTokens", result.promptTokens())
        .put("newTokens", result.newTokens())
        .put("temperature", request.temperature())
        .put("topK", request.topK())
        .put("topP", request.topP())
        .put("minP", request.minP())
        .put("repetitionPenalty", request.repetitionPenalty())
        .put("seed", request.seed());
  }
}
