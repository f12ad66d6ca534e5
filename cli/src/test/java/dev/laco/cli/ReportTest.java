package dev.laco.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import com.networknt.schema.JsonSchema;
import com.networknt.schema.JsonSchemaFactory;
import com.networknt.schema.SpecVersion;
import dev.laco.Fixtures;
import java.io.IOException;
import java.math.BigDecimal;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** The report says what was done, in a form that is written down. */
class ReportTest {
  private static final String FIXTURE = "llama_untied_gqa";
  private static final Path MODEL = Fixtures.model(FIXTURE);

  @TempDir Path folder;

  private JsonNode prune(Object... more) {
    List<Object> arguments = new ArrayList<>(List.of("prune", MODEL, "--json", "--quiet"));
    arguments.addAll(List.of("--calibration", Fixtures.tokens(folder, FIXTURE, "calib")));
    arguments.addAll(List.of(more));
    return Laco.run(arguments.toArray()).succeeded().json();
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "--dry-run --threshold 0.6",
        "--dry-run --search laco --target-layers 6",
        "--dry-run --target-layers 6 --rule mean --objective kl",
        "--dry-run --target-layers 6 --rule drop --search-budget 2sweeps",
        "OUT --target-layers 7 --rule repair --eval-tokens EVAL --fit-text EVAL",
        "OUT --target-layers 7 --effort fast --fit-text EVAL --heal-text EVAL --heal-tokens 64",
      })
  void everyKeyOfAReportIsInTheSchema(String options) throws IOException {
    Path eval = Fixtures.tokens(folder, FIXTURE, "eval");
    String given =
        options.replace("OUT", folder.resolve("out").toString()).replace("EVAL", eval.toString());
    JsonNode report = prune((Object[]) given.split(" "));
    assertEquals(Set.of(), schema().validate(report));
    assertFalse(schema().validate(((ObjectNode) report).put("secret", 1)).isEmpty());
  }

  /** A fit on 32,768 tokens trains the norms on an eighth as many behind them. */
  @Test
  void aReportOfTrainedNormsIsInTheSchema() throws IOException {
    Path text = Fixtures.randomTokens(folder.resolve("text.json"), 0, 310, 120);
    List<Object> arguments = new ArrayList<>(List.of(folder.resolve("out"), "--target-layers", 2));
    arguments.addAll(List.of("--rule", "reconstruct", "--fit-text", text, "--fit-tokens", 32_768));
    arguments.addAll(List.of("--eval-tokens", Fixtures.tokens(folder, FIXTURE, "eval")));
    JsonNode report = prune(arguments.toArray());
    assertTrue(report.at("/fit/norms/tokens").isIntegralNumber(), report::toString);
    assertEquals(Set.of(), schema().validate(report));
  }

  /** Weights that became infinite in 16 bits predict nothing that could be measured. */
  @Test
  void aReportOfATrainingThatWentWrongIsInTheSchema() throws IOException {
    Path text = Fixtures.randomTokens(folder.resolve("text.json"), 0, 64, 64);
    List<Object> arguments = new ArrayList<>(List.of("prune"));
    arguments.addAll(List.of(Fixtures.model("llama_mha_bias_f16"), folder.resolve("out")));
    arguments.addAll(List.of("--target-layers", 5, "--rule", "drop", "--calibration", text));
    arguments.addAll(List.of("--eval-tokens", text, "--heal-text", text, "--heal-tokens", 3000));
    arguments.addAll(List.of("--step-tokens", 64, "--lora", 16, "--lora-alpha", 65_536));
    arguments.addAll(List.of("--rate", 1, "--json"));
    JsonNode report = Laco.run(arguments.toArray()).succeeded().json();
    assertEquals(Set.of(), schema().validate(report));
    JsonNode training = report.at("/heal/training");
    int steps = training.get("losses").size();
    assertTrue(steps < training.get("steps").intValue(), training::toString);
    String warning = "the training ended before step " + (steps + 1) + " of ";
    assertTrue(report.get("warnings").toString().contains(warning), report::toString);
    JsonNode heldOut = training.get("heldOut");
    assertTrue(heldOut.get(heldOut.size() - 1).get("kl").isNull(), training::toString);
    assertEquals(heldOut.get(0), training.get("best"));
  }

  private static JsonSchema schema() throws IOException {
    return JsonSchemaFactory.getInstance(SpecVersion.VersionFlag.V202012)
        .getSchema(Files.readString(Path.of("docs/report.schema.json")));
  }

  @Test
  void aReportSaysByWhatAndWhenItWasMadeAndHowLongItTook() {
    Instant before = Instant.now().minus(Duration.ofSeconds(1));
    JsonNode report = prune("--dry-run", "--target-layers", 6, "--rule", "drop");
    assertEquals(Laco.run("--version").out().strip(), "laco " + report.get("laco").textValue());
    Instant date = Instant.parse(report.get("date").textValue());
    assertTrue(!date.isBefore(before) && !date.isAfter(Instant.now()), date.toString());
    List<String> command = new ArrayList<>();
    report.get("command").forEach(word -> command.add(word.textValue()));
    assertEquals(List.of("prune", MODEL.toString(), "--json"), command.subList(0, 3));
    assertEquals("drop", command.getLast());
    JsonNode timings = report.get("timings");
    assertTrue(
        timings.get("totalSeconds").doubleValue()
            >= timings.get("loadSeconds").doubleValue()
                + timings.get("searchSeconds").doubleValue());
  }

  @Test
  void aReportNumbersTheOriginalsLayersThatWereKeptMergedAndRemoved() {
    JsonNode report = prune("--dry-run", "--target-layers", 6, "--rule", "drop");
    List<Integer> kept = integers(report.get("layersKept"));
    List<Integer> removed = integers(report.get("layersRemoved"));
    assertEquals(6, kept.size());
    assertEquals(2, removed.size());
    assertEquals(0, report.get("layersMerged").size());
    for (int i = 0; i < 6; i++) {
      assertEquals(report.get("plan").get("layers").get(i).get("base").intValue(), kept.get(i));
    }
    JsonNode merged = prune("--dry-run", "--target-layers", 7, "--rule", "mean");
    assertEquals(1, merged.get("layersMerged").size());
    assertEquals(0, merged.get("layersRemoved").size());
    assertEquals(7, merged.get("layersKept").size());
  }

  private static List<Integer> integers(JsonNode array) {
    List<Integer> values = new ArrayList<>();
    array.forEach(value -> values.add(value.intValue()));
    return values;
  }

  @Test
  void aReportHasTheSettingsOfTheFit() {
    Path eval = Fixtures.tokens(folder, FIXTURE, "eval");
    JsonNode settings =
        prune(
                "--dry-run",
                "--target-layers",
                7,
                "--rule",
                "map",
                "--fit-text",
                eval,
                "--fit-tokens",
                100)
            .get("settings");
    assertEquals("map", settings.get("fitRule").textValue());
    assertEquals(eval.getFileName().toString(), settings.get("fitText").textValue());
    assertEquals(100, settings.get("fitTokens").intValue());
  }

  @Test
  void similaritiesHaveEightDigits() {
    JsonNode report = prune("--dry-run", "--threshold", 0.6);
    int digits = 0;
    for (JsonNode trial : report.get("trials")) {
      for (JsonNode similarity : trial.get("similarities")) {
        digits = Math.max(digits, digits(similarity));
      }
      digits = Math.max(digits, digits(trial.get("mean")));
    }
    assertEquals(8, digits);
    assertTrue(digits(report.get("finalSimilarity")) <= 8);
  }

  private static int digits(JsonNode number) {
    return new BigDecimal(number.asText()).scale();
  }
}
