package dev.laco.cli;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.laco.BadInputException;
import dev.laco.Legible;
import dev.laco.Model;
import dev.laco.checkpoint.Checkpoint;
import dev.laco.checkpoint.TensorInfo;
import java.nio.file.Path;
import java.util.Locale;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Parameters;

/** Says what a checkpoint is and whether it can be pruned. */
@Command(
    name = "inspect",
    description = "Say what a checkpoint is, and whether it is supported or why not.",
    mixinStandardHelpOptions = true,
    customSynopsis = "laco inspect MODEL [OPTIONS]",
    versionProvider = Version.class,
    footer = {"", "Example:", "  laco inspect models/storyteller"})
final class InspectCommand implements Callable<Integer> {
  @Parameters(paramLabel = "MODEL", description = LacoCommand.MODEL)
  Path model;

  @Mixin OutputOptions output;

  @Override
  public Integer call() {
    Console console = output.console();
    try (Checkpoint checkpoint = Checkpoint.openAny(Model.folder(model))) {
      ObjectNode json = describe(checkpoint);
      if (output.json) {
        console.document(json);
      } else {
        json.properties()
            .forEach(
                field ->
                    console.result(
                        line(
                            field.getKey(),
                            field.getValue().isNumber()
                                ? grouped(field.getValue().longValue())
                                : field.getValue().asText())));
      }
      JsonNode whyNot = json.get("reason");
      if (whyNot != null) {
        throw new BadInputException(whyNot.textValue());
      }
    }
    return 0;
  }

  private static ObjectNode describe(Checkpoint checkpoint) {
    ObjectNode json = JsonNodeFactory.instance.objectNode();
    json.put(
        "architecture", checkpoint.configJson().path("architectures").path(0).asText("unknown"));
    json.put("modelType", checkpoint.configJson().path("model_type").asText("unknown"));
    json.put("layers", checkpoint.configJson().path("num_hidden_layers").asInt());
    String whyNot = whyNotSupported(checkpoint);
    // Of a model that is not understood, whatever its tensors hold.
    json.put(
        "parameters",
        whyNot == null
            ? checkpoint.parameterCount()
            : checkpoint.tensors().stream().mapToLong(TensorInfo::elements).sum());
    json.put("dtype", Model.dtypes(checkpoint));
    json.put("bytes", checkpoint.totalBytes());
    json.put("files", checkpoint.files().size());
    json.put("supported", whyNot == null);
    return whyNot == null ? json.put("digest", checkpoint.digest()) : json.put("reason", whyNot);
  }

  private static @Nullable String whyNotSupported(Checkpoint checkpoint) {
    try {
      checkpoint.requireSupported();
      return null;
    } catch (BadInputException e) {
      return OptionNames.in(e.template());
    }
  }

  private static String grouped(long value) {
    return String.format(Locale.ROOT, "%,d", value);
  }

  private static String line(String key, String value) {
    return String.format(Locale.ROOT, "%-13s %s%n", key, Legible.line(value));
  }
}
