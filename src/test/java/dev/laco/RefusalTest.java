package dev.laco;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.laco.collapse.Lookahead;
import dev.laco.collapse.MergeRule;
import dev.laco.collapse.SearchBudget;
import dev.laco.compare.CompareRequest;
import dev.laco.compare.Strategy;
import dev.laco.evaluate.EvaluateRequest;
import dev.laco.generate.GenerateRequest;
import dev.laco.model.ModelConfig;
import dev.laco.prune.FitSettings;
import dev.laco.prune.Goal;
import dev.laco.prune.PruneJob;
import dev.laco.prune.PruneRequest;
import dev.laco.prune.SearchSettings;
import java.io.IOException;
import java.math.BigDecimal;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Set;
import java.util.TreeSet;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;

/** What a program reads of an error: what is to blame, what was given, expected, and what helps. */
final class RefusalTest {
  @Test
  void aValueThatASettingCannotHave() {
    refused("threads", "0", "1 to 1024", () -> DeviceSettings.AUTO.withThreads(0));
    refused("threshold", "2.0", "-1 to 1", () -> Goal.threshold(2));
    refused("targetRatio", "1", "at least 0 and below 1", () -> Goal.ratio(BigDecimal.ONE));
    refused("fitTokens", "1", "at least 2", () -> new FitSettings(null, 1));
    refused(
        "searchBudget",
        "soon",
        "a time, like 90s, 2m or 1h30m, or passes over the model, like 40sweeps",
        () -> SearchBudget.parse("soon"));
    refused("lookahead", "0", "a number from 1 on, or all", () -> Lookahead.parse("0"));
    refused("rule", "sum", MergeRule.labels(), () -> MergeRule.parse("sum"));
    refused("stride", "0", "at least 1", () -> new EvaluateRequest.Text(null, null, 0, null));
    GenerateRequest generate = GenerateRequest.of("Once");
    refused("maxTokens", "0", "1 to 67108864", () -> generate.withMaxTokens(0));
    refused("temperature", "-1.0", "a number of at least 0", () -> generate.withSampling(-1, 1, 0));
    refused("topP", "0.0", "a number above 0, at most 1", () -> generate.withSampling(0, 0, 0));
    refused("topK", "-1", "at least 1, or 0 for all tokens", () -> generate.withTopK(-1));
    refused("minP", "1.5", "a number from 0 to 1", () -> generate.withMinP(1.5));
    refused(
        "repetitionPenalty",
        "0.0",
        "a number from 0.01 to 100.0",
        () -> generate.withRepetitionPenalty(0));
  }

  private static void refused(String setting, String given, String expected, Executable call) {
    UsageException e = assertThrows(UsageException.class, call);
    assertEquals(new Refusal(setting, given, expected, null), e.refusal().orElseThrow());
    assertEquals(setting + " " + given + ": expected " + expected, e.getMessage());
  }

  @Test
  void aStrategyThatIsNone() {
    UsageException e = assertThrows(UsageException.class, () -> Strategy.named("luck"));
    Refusal refusal = e.refusal().orElseThrow();
    assertEquals("strategies", refusal.what());
    assertEquals("luck", refusal.given());
    assertTrue(String.valueOf(refusal.expected()).contains("shortgpt"), e::getMessage);
  }

  @Test
  void aValueThatDoesNotGoWithTheRest() {
    beamAnd(
        Goal.threshold(0.5),
        null,
        new Refusal("search", "beam", null, "give a target, not threshold"),
        "search beam looks for a size: give a target, not threshold");
    beamAnd(
        Goal.layers(9),
        3,
        new Refusal("interval", "3", null, "add search laco, or leave it out"),
        "interval 3 is of the paper's loop: add search laco, or leave it out");
    beamAnd(
        Goal.layers(13),
        null,
        new Refusal("targetLayers", "13", "1 to the model's depth, 12", null),
        "targetLayers 13: expected 1 to the model's depth, 12");
  }

  private static void beamAnd(
      Goal goal, @Nullable Integer interval, Refusal refusal, String message) {
    SearchSettings search =
        new SearchSettings(
            SearchSettings.Strategy.BEAM, null, null, null, null, null, interval, null, null, null);
    try (Model model = Model.open(Fixtures.model("llama_tied_rope3"))) {
      UsageException e =
          assertThrows(
              UsageException.class,
              () ->
                  new PruneJob(
                      model, DeviceSettings.of("cpu"), PruneRequest.of(goal).withSearch(search)));
      assertEquals(refusal, e.refusal().orElseThrow());
      assertEquals(message, e.getMessage());
    }
  }

  @Test
  void aRequestThatIsNone() {
    ObjectNode json = (ObjectNode) InputJson.parse("", "{\"search\": {\"lowest\": \"x\"}}");
    BadInputException type =
        assertThrows(
            BadInputException.class, () -> Request.parse("a.json", json, PruneRequest.class));
    assertEquals(
        new Refusal("a.json: search.lowest", "\"x\"", "a whole number", null),
        type.refusal().orElseThrow());
    ObjectNode ratio = (ObjectNode) InputJson.parse("", "{\"goal\": {\"ratio\": 2}}");
    BadInputException value =
        assertThrows(
            BadInputException.class, () -> Request.parse("a.json", ratio, PruneRequest.class));
    assertEquals(
        new Refusal("targetRatio", "2", "at least 0 and below 1", null),
        value.refusal().orElseThrow());
  }

  @Test
  void aFieldOfAConfig() {
    ObjectNode json =
        (ObjectNode)
            InputJson.parse(
                "", "{\"architectures\": [\"LlamaForCausalLM\"], \"num_hidden_layers\": \"six\"}");
    BadInputException e =
        assertThrows(BadInputException.class, () -> ModelConfig.parse("config.json", json));
    assertEquals(
        new Refusal(
            "config.json: num_hidden_layers", "\"six\"", "an integer from 1 to 67108864", null),
        e.refusal().orElseThrow());
    assertEquals(
        "config.json: num_hidden_layers: expected an integer from 1 to 67108864, found \"six\"",
        e.getMessage());
  }

  @Test
  void aRequestOfAStrategyThatIsNone() {
    ObjectNode json = (ObjectNode) InputJson.parse("", "{\"strategies\": [\"luck\"]}");
    BadInputException e =
        assertThrows(
            BadInputException.class, () -> Request.parse("a.json", json, CompareRequest.class));
    assertTrue(
        e.getMessage().startsWith("a.json: strategies: expected one of [laco"), e::getMessage);
    assertEquals("luck", e.refusal().orElseThrow().given());
  }

  /** One place puts such messages together. */
  @Test
  void nobodySaysByHandWhatASettingCannotBe() throws IOException {
    Pattern byHand =
        Pattern.compile("UsageException\\(\\s*Setting\\.of\\([^;]*\": expected", Pattern.DOTALL);
    Set<String> found = new TreeSet<>();
    try (Stream<Path> sources = Files.walk(Path.of("src/main/java"))) {
      for (Path source : sources.filter(path -> path.toString().endsWith(".java")).toList()) {
        if (byHand.matcher(Files.readString(source)).find()) {
          found.add(source.toString());
        }
      }
    }
    assertEquals(Set.of(), found);
  }
}
