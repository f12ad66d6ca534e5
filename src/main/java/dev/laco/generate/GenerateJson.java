package dev.laco.generate;

import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;

/** The result of a generation as JSON. The keys are a contract: other tools read them. */
public final class GenerateJson {
  private GenerateJson() {}

  /** How a model continued the prompt of a request. */
  public static ObjectNode of(GenerateRequest request, GenerateResult result) {
    return JsonNodeFactory.instance
        .objectNode()
        .put("prompt", request.prompt())
        .put("text", result.text())
        .put("promptTokens", result.promptTokens())
        .put("newTokens", result.newTokens())
        .put("temperature", request.temperature())
        .put("topP", request.topP())
        .put("seed", request.seed());
  }
}
