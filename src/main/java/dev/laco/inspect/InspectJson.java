package dev.laco.inspect;

import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.laco.BadInputException;

/** What a checkpoint is, as JSON. The keys are a contract: other tools read them. */
public final class InspectJson {
  private InspectJson() {}

  /**
   * The components of an inspection by their names, whether the checkpoint is {@code supported},
   * and the {@code reason} if it is not; the rules and loaders of a supported one, and those that
   * are {@code refused}; the {@code metadata} of a GGUF file.
   */
  public static ObjectNode of(ModelInspection model) {
    ObjectNode json =
        JsonNodeFactory.instance
            .objectNode()
            .put("architecture", model.architecture())
            .put("modelType", model.modelType())
            .put("layers", model.layers())
            .put("parameters", model.parameters())
            .put("dtype", model.dtype())
            .put("bytes", model.bytes())
            .put("files", model.files())
            .put("supported", model.isSupported());
    if (!model.parts().isEmpty()) {
      ObjectNode parts = json.putObject("parts");
      model.parts().forEach(parts::put);
    }
    if (model.prunedConfig() != null) {
      json.put("prunedConfig", model.prunedConfig());
    }
    if (model.isSupported()) {
      model.rules().forEach(json.putArray("rules")::add);
      model.loaders().forEach(loader -> json.withArray("loaders").add(loader.toString()));
      if (!model.refused().isEmpty()) {
        ObjectNode refused = json.putObject("refused");
        model.refused().forEach(refused::put);
      }
    }
    BadInputException whyNot = model.whyNot();
    if (whyNot == null) {
      json.put("digest", model.digest());
    } else {
      json.put("reason", whyNot.getMessage());
    }
    if (!model.metadata().isEmpty()) {
      ObjectNode metadata = json.putObject("metadata");
      model.metadata().forEach(metadata::put);
    }
    return json;
  }
}
