package dev.laco.cli;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.laco.BadInputException;
import dev.laco.Legible;
import dev.laco.inspect.InspectJson;
import dev.laco.inspect.ModelInspection;
import java.nio.file.Path;
import java.util.Locale;
import java.util.concurrent.Callable;
import java.util.stream.Collectors;
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
    ModelInspection inspection = ModelInspection.of(model);
    BadInputException whyNot = inspection.whyNot();
    ObjectNode json = InspectJson.of(inspection);
    if (whyNot != null) {
      json.put("reason", OptionNames.in(whyNot.template()));
    }
    if (output.json) {
      console.document(json);
    } else {
      json.remove("metadata");
      json.properties()
          .forEach(field -> console.result(line(field.getKey(), shown(field.getValue()))));
      inspection.metadata().forEach((key, value) -> console.result(line(key, value)));
    }
    if (whyNot != null) {
      throw whyNot;
    }
    return 0;
  }

  private static String shown(JsonNode value) {
    if (value.isObject()) {
      return value.properties().stream()
          .map(part -> part.getKey() + " " + shown(part.getValue()))
          .collect(Collectors.joining(", "));
    }
    if (value.isArray()) {
      return value.valueStream().map(InspectCommand::shown).collect(Collectors.joining(", "));
    }
    return value.isNumber() ? grouped(value.longValue()) : value.asText();
  }

  private static String grouped(long value) {
    return String.format(Locale.ROOT, "%,d", value);
  }

  private static String line(String key, String value) {
    return String.format(Locale.ROOT, "%-13s %s%n", key, Legible.line(value));
  }
}
