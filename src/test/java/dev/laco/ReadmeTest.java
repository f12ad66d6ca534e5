package dev.laco;

import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import dev.laco.model.Architecture;
import dev.laco.model.Loader;
import dev.laco.model.Multimodal;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Locale;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Test;

/** The README says what the code does. */
final class ReadmeTest {
  @Test
  void theTableOfArchitecturesIsTheOneThatTheTestsCover() throws IOException {
    StringBuilder table =
        new StringBuilder(
            """
            | architecture | `model_type` | containers | rules | loaders | tested on |
            |---|---|---|---|---|---|
            """);
    for (Architecture architecture : Architecture.all()) {
      table.append(
          String.format(
              Locale.ROOT,
              "| `%s` | `%s` | %s | %s | %s | %s |\n",
              architecture.className(),
              architecture.modelType(),
              "safetensors, .bin, "
                  + (architecture.className().startsWith("GptOss") ? "MXFP4" : "8 bits")
                  + (architecture.gguf().isPresent() ? ", GGUF" : ""),
              rules(architecture),
              architecture.loaders().stream()
                  .map(Loader::toString)
                  .collect(Collectors.joining(", ")),
              testedOn(architecture)));
    }
    String readme = Files.readString(Path.of("README.md"));
    assertTrue(readme.contains(table), "README.md should contain:\n" + table);
  }

  @Test
  void theTableOfMultimodalModelsIsTheCodes() throws IOException {
    StringBuilder table =
        new StringBuilder(
            """
            | architecture | `model_type` | language model | containers | loaders |
            |---|---|---|---|---|
            """);
    for (Multimodal kind : Multimodal.all()) {
      table.append(
          String.format(
              Locale.ROOT,
              "| `%s` | `%s` | %s | safetensors, .bin, 8 bits | %s |\n",
              kind.className(),
              kind.modelType(),
              String.join(", ", kind.families().keySet()),
              kind.families().firstEntry().getValue().loaders().stream()
                  .map(Loader::toString)
                  .collect(Collectors.joining(", "))));
    }
    String readme = Files.readString(Path.of("README.md"));
    assertTrue(readme.contains(table), "README.md should contain:\n" + table);
  }

  private static String rules(Architecture architecture) {
    String layers = architecture.mixesTokensUnlike() ? "remove, " : "merge, ";
    if (architecture.whyNoFit() != null) {
      return layers + "reconstruct";
    }
    return layers + (architecture.whyOnlyDown() == null ? "fit" : "map, fit and reconstruct");
  }

  /** The fixtures of a family; interop makes a model of every family. */
  private static String testedOn(Architecture architecture) {
    String fixtures =
        Fixtures.names()
            .filter(
                name ->
                    config(name)
                        .at("/architectures/0")
                        .textValue()
                        .equals(architecture.className()))
            .map(name -> name + " (" + dtype(config(name)) + ")")
            .collect(Collectors.joining(", "));
    if (fixtures.isEmpty()) {
      return "random weights only";
    }
    return architecture.modelType().equals("llama")
        ? fixtures + "; trained: storyteller, SmolLM2-135M"
        : fixtures;
  }

  private static String dtype(JsonNode config) {
    return config.path("torch_dtype").asText(config.path("dtype").asText());
  }

  private static JsonNode config(String fixture) {
    return Fixtures.read(Fixtures.model(fixture).resolve("config.json"));
  }
}
