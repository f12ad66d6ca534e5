package dev.laco.compare;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.BadInputException;
import dev.laco.Cancellation;
import dev.laco.CancelledException;
import dev.laco.Compute;
import dev.laco.DeviceSettings;
import dev.laco.Fixtures;
import dev.laco.JobEvent;
import dev.laco.Model;
import dev.laco.ResourceException;
import dev.laco.UsageException;
import dev.laco.backend.Backend;
import dev.laco.backend.cpu.CpuBackend;
import dev.laco.collapse.FitRule;
import dev.laco.collapse.MergeRule;
import dev.laco.collapse.Objective;
import dev.laco.fit.FittedChoice;
import dev.laco.fit.WholeText;
import dev.laco.prune.FitSettings;
import dev.laco.prune.Goal;
import dev.laco.prune.TextSettings;
import dev.laco.run.JobTexts;
import dev.laco.scoring.SweepOptions;
import dev.laco.scoring.SweepScorer;
import dev.laco.text.FitText;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** A comparison without a command line. */
final class CompareJobTest {
  private static final String FIXTURE = "llama_untied_gqa";
  private static final Path MODEL = Fixtures.model(FIXTURE);
  private static final DeviceSettings CPU = DeviceSettings.of("cpu").withThreads(1);

  @TempDir Path folder;

  private CompareRequest request(int layers, String... strategies) {
    return request(FIXTURE, layers, strategies);
  }

  private CompareRequest request(String fixture, int layers, String... strategies) {
    TextSettings texts =
        new TextSettings(
            Fixtures.tokens(folder, fixture, "calib"),
            null,
            Fixtures.tokens(folder, fixture, "eval"));
    return CompareRequest.of(Goal.layers(layers))
        .withTexts(texts)
        .withStrategies(List.of(strategies).stream().map(Strategy::named).toList());
  }

  @Test
  void tellsEachRowWhenItIsMeasured() {
    CompareRequest request = request(6, "laco-merge", "shortgpt");
    List<JobEvent> events = new ArrayList<>();
    CompareResult result;
    try (Model model = Model.open(MODEL)) {
      result = new CompareJob(model, CPU, request).listener(events::add).run();
    }
    assertEquals(2, result.rows().size());
    assertEquals(List.of(), result.leftOut());
    List<CompareResult.Row> told = new ArrayList<>();
    for (JobEvent event : events) {
      if (event instanceof CompareEvent.StrategyMeasured(CompareResult.Row row)) {
        told.add(row);
      }
    }
    assertEquals(Set.copyOf(result.rows()), Set.copyOf(told));
    assertTrue(
        events.contains(new CompareEvent.DenseMeasured(result.dense(), null)), events.toString());
    assertTrue(
        events.stream().anyMatch(event -> event instanceof JobEvent.MemoryPlanned),
        events.toString());
  }

  @Test
  void aCancelledComparisonEndsBeforeTheNextLayer() {
    Cancellation token = new Cancellation();
    List<JobEvent> after = new ArrayList<>();
    try (Model model = Model.open(MODEL)) {
      CompareJob job =
          new CompareJob(model, CPU, request(6, "last", "shortgpt", "laco-merge"))
              .cancelledBy(token)
              .listener(
                  event -> {
                    if (token.isCancelled()) {
                      after.add(event);
                    }
                    if (event instanceof CompareEvent.StrategyMeasured) {
                      token.cancel();
                    }
                  });
      assertThrows(CancelledException.class, job::run);
    }
    assertTrue(token.isCancelled());
    assertEquals(List.of(), after);
  }

  @Test
  void aStrategyWithoutAModelOfTheSizeIsLeftOutAndSaysWhy() {
    try (Model model = Model.open(MODEL)) {
      CompareResult result = new CompareJob(model, CPU, request(1, "sliding-window", "last")).run();
      assertEquals(
          List.of("last"),
          labels(result.rows().stream().map(CompareResult.Row::strategy).toList()));
      CompareResult.LeftOut leftOut = result.leftOut().getFirst();
      assertEquals(Strategy.of(Strategy.Peer.SLIDING_WINDOW), leftOut.strategy());
      assertTrue(leftOut.reason().contains("leaves 1 layers"), leftOut::reason);
    }
  }

  /** Neither is the memory of a fit planned, nor must the device be one that fits. */
  @ParameterizedTest
  @CsvSource({FIXTURE + ", shortgpt", "gemma2_std, laco-align"})
  void noTextOfAFitIsReadWhereNothingIsFitted(String fixture, String strategy) {
    CompareRequest request =
        request(fixture, 6, "last", strategy)
            .withFit(new FitSettings(folder.resolve("missing.txt"), null));
    try (Model model = Model.open(Fixtures.model(fixture))) {
      CompareResult result = new CompareJob(model, CPU, request).run();
      assertEquals("last", result.rows().getFirst().strategy().label());
      CompareJob fits =
          new CompareJob(
              model, CPU, request.withStrategies(List.of(Strategy.named("laco-reconstruct"))));
      assertThrows(BadInputException.class, fits::run);
    }
  }

  /** The model has no tokenizer, and no token ids are given to fit on. */
  @Test
  void withoutATextAFitThatIsNamedIsRefusedAndTheDefaultsIsLeftOutWithAWarning() {
    try (Model model = Model.open(MODEL)) {
      CompareJob named = new CompareJob(model, CPU, request(6, "laco", "laco-fit", "laco-merge"));
      BadInputException e = assertThrows(BadInputException.class, named::run);
      assertTrue(e.getMessage().contains("text needs a tokenizer"), e::getMessage);
      CompareResult result = new CompareJob(model, CPU, request(6, "laco", "last")).run();
      assertEquals(2, result.rows().size());
      assertEquals(
          List.of(
              "laco: weights are not fitted: the model has no tokenizer.json; give fitText"
                  + " FILE.json with token ids"),
          result.warnings());
      assertEquals(
          List.of(), new CompareJob(model, CPU, request(6, "laco-merge")).run().warnings());
    }
  }

  @Test
  void aUserIsWarnedOfTheCalibrationText() {
    TextSettings texts =
        new TextSettings(
            Fixtures.randomTokens(folder.resolve("long.json"), 1, 1, 300),
            null,
            Fixtures.tokens(folder, FIXTURE, "eval"));
    try (Model model = Model.open(MODEL)) {
      CompareResult result = new CompareJob(model, CPU, request(6, "last").withTexts(texts)).run();
      assertTrue(
          result.warnings().getFirst().contains("300 tokens, more than the model's"),
          result.warnings()::toString);
      assertEquals(
          result.warnings().getFirst(), CompareJson.of(result).at("/warnings/0").textValue());
    }
  }

  /** Both have the models of one search, and nothing is done with them before they are measured. */
  @Test
  void theSecondsOfASearchCountForEveryStrategyThatHasItsModels() {
    try (Model model = Model.open(MODEL)) {
      List<CompareResult.Row> rows =
          new CompareJob(model, CPU, request(6, "laco-merge", "laco")).run().rows();
      double most = Math.max(rows.getFirst().seconds(), rows.getLast().seconds());
      double least = Math.min(rows.getFirst().seconds(), rows.getLast().seconds());
      assertTrue(least > most / 2, rows::toString);
    }
  }

  /** The scorer of a size is open while models are fitted and measured. */
  @Test
  void theMemoryIsThatOfTheScorerAndOfAFitTogether() {
    FitSettings fit = new FitSettings(Fixtures.tokens(folder, FIXTURE, "eval"), null);
    CompareRequest request = request(6, "laco-fit").withFit(fit);
    try (Model model = Model.open(MODEL);
        Backend backend = CpuBackend.open(Compute.AUTO, 1)) {
      FitText text = JobTexts.fit(JobTexts.fitSource(model, fit.file()), model, null);
      long scorer =
          SweepScorer.bytes(
              model.config(),
              Fixtures.tokens(FIXTURE, "calib").stream().mapToLong(ids -> ids.length).sum(),
              SweepOptions.of(SweepOptions.CANDIDATES).with(Objective.NLL));
      long fitting = FittedChoice.bytes(backend, model.config(), text, WholeText.of(text));
      DeviceSettings less = CPU.withMemory(scorer + fitting - 1, null);
      CompareJob job = new CompareJob(model, less, request);
      ResourceException e = assertThrows(ResourceException.class, job::run);
      assertTrue(e.getMessage().contains("buffers need "), e::getMessage);
    }
  }

  @Test
  void whatCannotBeMetIsSaidInTheWordsOfARequest() {
    try (Model model = Model.open(MODEL)) {
      UsageException tooMany =
          assertThrows(
              UsageException.class, () -> new CompareJob(model, CPU, request(100, "last")));
      assertTrue(tooMany.getMessage().startsWith("targetLayers 100"), tooMany::getMessage);
      CompareJob withoutText =
          new CompareJob(model, CPU, request(6, "last").withTexts(TextSettings.DEFAULT));
      UsageException nothing = assertThrows(UsageException.class, withoutText::run);
      assertTrue(nothing.getMessage().contains("evalTokens"), nothing::getMessage);
      assertFalse(nothing.getMessage().contains("--"), nothing::getMessage);
    }
  }

  @Test
  void strategiesAreSettingsWithNamesOfTheirOwn() {
    Set<String> names = new HashSet<>(labels(Strategy.presets()));
    assertEquals(Strategy.presets().size(), names.size());
    Strategy.presets()
        .forEach(strategy -> assertEquals(strategy, Strategy.named(strategy.label())));
    assertEquals(Strategy.DEFAULT, Strategy.named("LACO"));
    assertEquals(
        new Strategy(new Strategy.PaperLoop(MergeRule.rdsc(1)), null),
        Strategy.named("paper-rdsc"));
    assertEquals(
        List.of(
            "laco",
            "paper-replace",
            "paper-rdsc",
            "shortgpt",
            "angular",
            "sleb",
            "sliding-window",
            "last"),
        labels(Strategy.usual()));
    assertEquals("last-map", new Strategy(Strategy.Peer.LAST, FitRule.MAP).label());
    assertEquals("paper-rdsc:0.5", Strategy.paper(MergeRule.rdsc(0.5)).label());
  }

  private static List<String> labels(List<Strategy> strategies) {
    return strategies.stream().map(Strategy::label).toList();
  }
}
