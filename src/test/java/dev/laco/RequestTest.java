package dev.laco;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.laco.analysis.SimilarityRequest;
import dev.laco.collapse.NormsPolicy;
import dev.laco.collapse.Objective;
import dev.laco.compare.CompareRequest;
import dev.laco.compare.Strategy;
import dev.laco.curve.CurveRequest;
import dev.laco.evaluate.EvaluateRequest;
import dev.laco.generate.GenerateRequest;
import dev.laco.heal.HealRequest;
import dev.laco.heal.HealSettings;
import dev.laco.prune.FitSettings;
import dev.laco.prune.Goal;
import dev.laco.prune.PruneRequest;
import dev.laco.prune.SearchSettings;
import dev.laco.prune.TextSettings;
import java.io.IOException;
import java.math.BigDecimal;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Random;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Requests of every kind as JSON. */
final class RequestTest {
  private static final Map<String, Class<? extends Request>> KINDS =
      Map.of(
          "prune", PruneRequest.class,
          "compare", CompareRequest.class,
          "curve", CurveRequest.class,
          "similarity", SimilarityRequest.class,
          "evaluate", EvaluateRequest.class,
          "generate", GenerateRequest.class,
          "heal", HealRequest.class);

  private final long seed = System.nanoTime();
  private final Random random = new Random(seed);

  @TempDir Path folder;

  @Test
  void randomRequestsSurviveTheirJson() throws IOException {
    for (int i = 0; i < 200; i++) {
      survives(
          new PruneRequest(
              goal(),
              new SearchSettings(
                  sometimes(() -> oneOf(SearchSettings.Strategy.values())),
                  sometimes(() -> number(1, 99) + "sweeps"),
                  sometimes(() -> oneOf(Objective.values())),
                  sometimes(() -> oneOf("all", "7")),
                  sometimes(() -> number(-5, 5)),
                  sometimes(() -> number(-5, 5)),
                  sometimes(() -> number(-5, 5)),
                  sometimes(() -> number(-5, 5)),
                  sometimes(() -> number(-5, 5)),
                  sometimes(() -> oneOf(NormsPolicy.values()))),
              sometimes(() -> oneOf("auto", "rdsc:0.5", "refine", "\"")),
              fit(),
              texts(),
              sometimes(this::path),
              null,
              sometimes(this::heal),
              null),
          PruneRequest.class);
      survives(
          PruneRequest.of(goal())
              .withEffort(
                  sometimes(() -> oneOf(PruneRequest.Effort.FAST, PruneRequest.Effort.NORMAL)))
              .withHeal(sometimes(this::heal)),
          PruneRequest.class);
      survives(PruneRequest.of(goal()).withEffort(PruneRequest.Effort.BEST), PruneRequest.class);
      survives(PruneRequest.of(goal()).withWithin(600.0), PruneRequest.class);
      survives(
          new CompareRequest(
              goal(),
              Strategy.presets().stream().filter(_ -> random.nextBoolean()).toList(),
              texts(),
              fit(),
              sometimes(this::passages)),
          CompareRequest.class);
      survives(
          new CurveRequest(
              List.of(goal(), goal()),
              sometimes(() -> oneOf("auto", "drop", "refine")),
              texts(),
              fit(),
              Strategy.presets().stream().filter(_ -> random.nextBoolean()).toList()),
          CurveRequest.class);
      survives(
          new SimilarityRequest(
              List.of(oneOf(SimilarityRequest.Part.values())),
              sometimes(this::path),
              sometimes(() -> number(1, 99))),
          SimilarityRequest.class);
      survives(
          oneOf(
              new EvaluateRequest.Text(
                  sometimes(this::path),
                  sometimes(() -> number(1, 5000)),
                  sometimes(() -> number(1, 5000)),
                  null),
              new EvaluateRequest.Text(
                  sometimes(this::path), null, sometimes(() -> number(1, 20)), number(20, 5000)),
              new EvaluateRequest.Tokens(path()),
              new EvaluateRequest.LastWords(passages()),
              new EvaluateRequest.Speed(),
              new EvaluateRequest.Tasks(
                  oneOf(List.of("piqa"), List.of("qa5", "boolq")),
                  sometimes(this::path),
                  sometimes(() -> number(1, 9)),
                  sometimes(() -> number(0, 9)),
                  sometimes(() -> true),
                  sometimes(() -> 90.5))),
          EvaluateRequest.class);
      survives(new HealRequest(heal(), null, null, sometimes(this::path)), HealRequest.class);
      survives(
          new GenerateRequest(
              oneOf("", "Once upon a time", "a \"word\"\n\u20ac \ud83d\ude00"),
              true,
              sometimes(() -> "Be brief."),
              number(1, 1 << 20),
              random.nextDouble() * 2,
              number(0, 99),
              1 - random.nextDouble(),
              random.nextDouble(),
              2 - random.nextDouble(),
              random.nextLong()),
          GenerateRequest.class);
    }
  }

  @Test
  void aDefaultLocaleChangesNoLetterOfARequest() throws IOException {
    Locale before = Locale.getDefault();
    Locale.setDefault(Locale.of("tr"));
    try {
      HealRequest behind =
          new HealRequest(
              HealSettings.DEFAULT.withLayers(HealSettings.Layers.BEHIND), null, null, null);
      survives(behind, HealRequest.class);
      assertEquals("behind", behind.toJson().at("/heal/layers").textValue());
    } finally {
      Locale.setDefault(before);
    }
  }

  private <R extends Request> void survives(R request, Class<R> kind) throws IOException {
    ObjectNode json = request.toJson();
    assertEquals(request, Request.parse("request", json, kind), () -> "seed " + seed);
    Path file = Files.writeString(folder.resolve("request.json"), json.toPrettyString());
    R read = Request.read(file, kind);
    assertEquals(request, read, () -> "seed " + seed);
    assertEquals(json, read.toJson(), () -> "seed " + seed);
  }

  private Goal goal() {
    return oneOf(
        Goal.threshold(random.nextDouble()),
        Goal.layers(number(0, 100)),
        Goal.ratio(BigDecimal.valueOf(number(0, 99), 2)),
        Goal.bytes(random.nextLong()));
  }

  private FitSettings fit() {
    return new FitSettings(sometimes(this::path), sometimes(() -> number(2, 1 << 20)));
  }

  private HealSettings heal() {
    Integer lora = sometimes(() -> number(1, 64));
    return new HealSettings(
        random.nextBoolean() ? List.of(path(), path()) : List.of(),
        sometimes(() -> (long) number(0, 99)),
        sometimes(() -> (long) number(1, 99)),
        sometimes(() -> number(1, 99)),
        sometimes(() -> oneOf(1e-4, 0.5)),
        sometimes(() -> oneOf(0.0, 0.25, 1.0)),
        sometimes(() -> oneOf(HealSettings.Layers.values())),
        sometimes(random::nextLong),
        lora,
        lora == null ? null : sometimes(() -> oneOf(1.0, 32.0)),
        lora == null ? sometimes(() -> oneOf(HealSettings.Optimizer.values())) : null,
        lora == null ? sometimes(() -> oneOf(HealSettings.Masters.values())) : null);
  }

  private TextSettings texts() {
    boolean text = random.nextBoolean();
    return new TextSettings(
        sometimes(this::path),
        text ? sometimes(this::path) : null,
        text ? null : sometimes(this::path));
  }

  private Passages passages() {
    return new Passages(sometimes(this::path));
  }

  private Path path() {
    return Path.of(oneOf("a.txt", "/a/b c.json", "it's \"this\".jsonl", "."));
  }

  private int number(int from, int to) {
    return random.nextInt(from, to + 1);
  }

  private <T> @Nullable T sometimes(Supplier<T> value) {
    return random.nextBoolean() ? value.get() : null;
  }

  @SafeVarargs
  private <T> T oneOf(T... values) {
    return values[random.nextInt(values.length)];
  }

  @Test
  void whatIsLeftOutIsLeftToDefaults() {
    assertEquals(PruneRequest.of(Goal.QUARTER), parsed("{}", PruneRequest.class));
    assertEquals(CompareRequest.of(Goal.QUARTER), parsed("{}", CompareRequest.class));
    assertEquals(EvaluateRequest.Text.OWN, parsed("{'text': {}}", EvaluateRequest.class));
    assertEquals(
        new EvaluateRequest.LastWords(Passages.BUILT_IN),
        parsed("{'lastWords': {}}", EvaluateRequest.class));
    assertEquals(
        GenerateRequest.of("Once").withSampling(0, 0.95, 0),
        parsed("{'prompt': 'Once', 'temperature': 0}", GenerateRequest.class));
    assertEquals(
        GenerateRequest.of("Once").inChat("Be brief."),
        parsed("{'prompt': 'Once', 'chat': true, 'system': 'Be brief.'}", GenerateRequest.class));
  }

  private static <R extends Request> R parsed(String json, Class<R> kind) {
    return Request.parse(
        "request", (ObjectNode) InputJson.parse("request", json.replace('\'', '"')), kind);
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "prune | {'goals': {}} | goals: expected one of goal, search, rule, fit, texts, fromPlan,"
            + " effort, heal, within, found goals",
        "prune | {'goal': {'layers': 3, 'ratio': 0.1}} | goal: expected one of threshold, layers,"
            + " ratio, bytes, found {\"layers\":3,\"ratio\":0.1}",
        "prune | {'goal': {'size': 3}} | goal: expected one of threshold, layers, ratio, bytes,"
            + " found {\"size\":3}",
        "prune | {'goal': {'layers': '3'}} | goal: expected a whole number, found"
            + " {\"layers\":\"3\"}",
        "prune | {'goal': {'layers': 3.5}} | goal: expected a whole number, found {\"layers\":3.5}",
        "prune | {'goal': {'threshold': []}} | goal: expected a number, found {\"threshold\":[]}",
        "prune | {'goal': {'ratio': 2}} | goal: targetRatio 2: expected at least 0 and below 1",
        "prune | {'goal': []} | goal: expected one of threshold, layers, ratio, bytes, found []",
        "prune | {'search': {'strategy': 'luck'}} | search.strategy: expected one of laco, greedy,"
            + " beam, blocks, found \"luck\"",
        "prune | {'search': {'lowest': 'x'}} | search.lowest: expected a whole number, found \"x\"",
        "prune | {'search': {'lowest': 1.5}} | search.lowest: expected a whole number, found 1.5",
        "prune | {'search': []} | search: expected an object, found []",
        "prune | {'texts': {'evaluation': {}}} | texts.evaluation: expected text, found {}",
        "prune | {'effort': 0} | effort: expected one of fast, normal, best, found 0",
        "prune | {'effort': ''} | effort: expected one of fast, normal, best, found \"\"",
        "prune | {'rule': 1.5} | rule: expected text, found 1.5",
        "prune | {'rule': true} | rule: expected text, found true",
        "prune | {'fromPlan': ''} | fromPlan: expected text, found \"\"",
        "prune | {'fromPlan': 1} | fromPlan: expected text, found 1",
        "prune | {'fit': ''} | fit: expected an object, found \"\"",
        "prune | {'fit': {'file': ' '}} | fit.file: expected text, found \" \"",
        "prune | {'heal': {'texts': [null]}} | heal.texts: expected a list without null, found null",
        "similarity | {'calibration': ''} | calibration: expected text, found \"\"",
        "generate | {'prompt': 'a', 'chat': 'yes'} | chat: expected true or false, found \"yes\"",
        "prune | {'fromPlan': 'a\\u0000b'} | fromPlan: is no path of a file",
        "compare | {'strategies': {}} | strategies: expected a list, found {}",
        "compare | {'passages': {'files': 'x'}} | passages.files: expected one of file, found"
            + " files",
        "evaluate | {} | expected one of text, tokens, lastWords, tasks, throughput, found {}",
        "evaluate | {'texts': {}} | expected one of text, tokens, lastWords, tasks, throughput, found"
            + " {\"texts\":{}}",
        "evaluate | {'text': {}, 'tokens': {}} | expected one of text, tokens, lastWords, tasks,"
            + " throughput, found {\"text\":{},\"tokens\":{}}",
        "evaluate | {'text': 3} | text: expected an object, found 3",
        "evaluate | {'text': {'stride': 0}} | text: stride 0: expected at least 1",
        "evaluate | {'tokens': {}} | tokens: file is missing: name a JSON list of token-id lists",
        "generate | {} | prompt is missing: give the text to continue",
        "generate | {'prompt': 'a', 'topP': 'b'} | topP: expected a number, found \"b\"",
        "generate | {'prompt': 'a', 'maxTokens': 0} | maxTokens 0: expected 1 to 67108864",
      })
  void whatIsNoRequestIsSaidByFileAndKey(String kind, String json, String says) throws IOException {
    Path file = Files.writeString(folder.resolve("request.json"), json.replace('\'', '"'));
    BadInputException e =
        assertThrows(BadInputException.class, () -> Request.read(file, KINDS.get(kind)));
    assertEquals(file + ": " + says, e.getMessage());
  }
}
