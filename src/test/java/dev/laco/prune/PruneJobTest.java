package dev.laco.prune;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.Cancellation;
import dev.laco.CancelledException;
import dev.laco.Compute;
import dev.laco.DeviceSettings;
import dev.laco.Fixtures;
import dev.laco.JobEvent;
import dev.laco.Model;
import dev.laco.UsageException;
import dev.laco.collapse.FitRule;
import dev.laco.collapse.KeptLayers;
import dev.laco.collapse.Objective;
import dev.laco.collapse.Trial;
import dev.laco.compare.CompareJob;
import dev.laco.compare.CompareRequest;
import dev.laco.compare.Strategy;
import dev.laco.fit.FittedChoice;
import dev.laco.report.ChoiceReport;
import dev.laco.report.FitReport;
import dev.laco.report.PruneReport;
import dev.laco.report.PruneSettings;
import java.math.BigDecimal;
import java.nio.file.Path;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.locks.LockSupport;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;

/** A prune without a command line. */
final class PruneJobTest {
  private static final String FIXTURE = "llama_tied_rope3";
  private static final Path MODEL = Fixtures.model(FIXTURE);
  private static final DeviceSettings CPU = DeviceSettings.of("cpu").withThreads(1);

  @TempDir Path folder;

  private PruneRequest request() {
    Path calibration = Fixtures.tokens(folder, FIXTURE, "calib");
    return PruneRequest.of(Goal.ratio(new BigDecimal("0.25")))
        .withRule("drop")
        .withTexts(new TextSettings(calibration, null, null));
  }

  @Test
  void tellsWhatItDoesAndGivesTheBestThatItFound() {
    List<JobEvent> events = new ArrayList<>();
    try (Model model = Model.open(MODEL);
        PruneJob job = new PruneJob(model, CPU, request()).listener(events::add)) {
      PruneResult result = job.run();
      assertEquals(job.best().orElseThrow().plan(), result.plan());
      assertEquals(job.mostLayers(), result.plan().depth());
    }
    List<Class<?>> kinds = new ArrayList<>();
    events.forEach(event -> kinds.add(event.getClass()));
    assertTrue(
        kinds.containsAll(
            List.of(
                JobEvent.DeviceOpened.class,
                JobEvent.ModelOpened.class,
                PruneEvent.CalibrationRead.class,
                JobEvent.MemoryPlanned.class,
                PruneEvent.SearchStarted.class,
                PruneEvent.Tried.class,
                PruneEvent.BetterModel.class,
                PruneEvent.Searched.class)),
        kinds.toString());
  }

  @Test
  void theReportSaysWhenTheJobBeganAndNotWhenItWasPrepared() {
    try (Model model = Model.open(MODEL);
        PruneJob job = new PruneJob(model, CPU, request())) {
      // A clock of a few milliseconds goes on meanwhile.
      LockSupport.parkNanos(50_000_000);
      Instant before = Instant.now();
      Instant began = job.run().report().origin().date();
      assertFalse(began.isBefore(before), began + " " + before);
    }
  }

  /** Layers with norms behind their projections, and with mixtures of experts. */
  @ParameterizedTest
  @CsvSource({"gemma2_std, 6", "mixtral, 4"})
  void layersForWhichNothingIsSolvedAreReconstructedUnlessItIsToBeFast(String name, int layers) {
    FitSettings text = new FitSettings(Fixtures.tokens(folder, name, "calib"), null);
    PruneRequest request = request(name, layers).withFit(text);
    List<String> warnings = new ArrayList<>();
    PruneReport report = pruned(name, request, warnings);
    assertEquals(FitRule.RECONSTRUCT, Objects.requireNonNull(report.fit()).rule());
    assertTrue(report.settings().search() instanceof PruneSettings.Blocks);
    PruneRequest fast = request.withEffort(PruneRequest.Effort.FAST);
    assertNull(pruned(name, fast, warnings).fit());
  }

  /** Models of no fit are compared once more, on a text that the search has not seen. */
  @Test
  void theBestOfTheSearchAndOfOtherMethodsOnFurtherTextIsTaken() {
    Path further = Fixtures.tokens(folder, FIXTURE, "eval");
    PruneRequest request = request().withFit(new FitSettings(further, null));
    PruneReport report = pruned(FIXTURE, request, new ArrayList<>());
    ChoiceReport choice = Objects.requireNonNull(report.choice());
    assertEquals(FIXTURE + ".eval.json", choice.text());
    List<ChoiceReport.Contender> contenders = choice.contenders();
    List<Integer> best =
        contenders.stream()
            .min(Comparator.comparingDouble(ChoiceReport.Contender::measured))
            .orElseThrow()
            .layers();
    assertEquals(best, report.layers().kept());
    try (Model model = Model.open(MODEL)) {
      CompareRequest compare =
          CompareRequest.of(Goal.layers(9))
              .withTexts(new TextSettings(request.texts().calibration(), null, further))
              .withStrategies(List.of(Strategy.named("shortgpt"), Strategy.named("angular")));
      new CompareJob(model, CPU, compare)
          .run()
          .rows()
          .forEach(
              row ->
                  assertTrue(
                      contenders.stream()
                          .anyMatch(one -> one.layers().equals(KeptLayers.of(row.plan()).kept())),
                      row.strategy().label()));
    }
  }

  /** Every second layer of the fixture has a window. */
  @Test
  void saysWhichLayersGetAttentionWeightsOfAnotherType() {
    PruneRequest request = request("gemma2_std", 7).withRule("mean");
    List<String> warnings = new ArrayList<>();
    int base =
        pruned("gemma2_std", request, warnings).plan().layers().stream()
            .filter(layer -> layer.attention().terms().size() > 1)
            .findFirst()
            .orElseThrow()
            .base();
    String start =
        "attention weights of layers with another window or rotation were merged into layers "
            + base
            + ", which keep their own";
    assertTrue(warnings.stream().anyMatch(w -> w.startsWith(start)), warnings.toString());

    List<String> others = new ArrayList<>();
    pruned("gemma2_std", request.withRule("drop"), others);
    assertTrue(others.stream().noneMatch(w -> w.startsWith("attention")), others.toString());
  }

  private PruneRequest request(String fixture, int layers) {
    return PruneRequest.of(Goal.layers(layers))
        .withTexts(new TextSettings(Fixtures.tokens(folder, fixture, "calib"), null, null));
  }

  private static PruneReport pruned(String fixture, PruneRequest request, List<String> warnings) {
    return pruned(fixture, CPU, request, warnings);
  }

  /**
   * Prunes a fixture.
   *
   * @param warnings to which those of the job are added
   */
  static PruneReport pruned(
      String fixture, DeviceSettings device, PruneRequest request, List<String> warnings) {
    try (Model model = Model.open(Fixtures.model(fixture));
        PruneJob job =
            new PruneJob(model, device, request)
                .listener(
                    event -> {
                      if (event instanceof JobEvent.Warned warned) {
                        warnings.add(warned.message());
                      }
                    })) {
      return job.run().report();
    }
  }

  @Test
  void aReportIsReadWithoutJson() {
    PruneReport report;
    try (Model model = Model.open(MODEL);
        PruneJob job = new PruneJob(model, CPU, request())) {
      report = job.run().report();
    }
    assertEquals(request(), report.request());
    PruneSettings settings = report.settings();
    assertEquals(
        new PruneSettings.BestMerges(2, 2, 1, 1, 12, null, 9, null, Objective.NLL),
        settings.search());
    assertEquals("drop", settings.rule());
    assertEquals(Compute.AUTO, settings.compute());
    assertEquals(FIXTURE + ".calib.json", settings.calibration().text());
    assertNull(settings.fit());
    assertEquals(9, report.plan().depth());
    assertEquals(List.of(), report.warnings());
    assertNull(report.timings().write());
    assertTrue(report.search().trials().stream().anyMatch(Trial::accepted));
  }

  @Test
  void aFitTellsWhatItComparesAndHowFarItIs() {
    Path tokens = Fixtures.tokens(folder, FIXTURE, "eval");
    PruneRequest fits = request().withRule("fit").withFit(new FitSettings(tokens, 100));
    List<FitReport.Contender> compared = new ArrayList<>();
    List<PruneEvent.Fitted> fitted = new ArrayList<>();
    try (Model model = Model.open(MODEL);
        PruneJob job =
            new PruneJob(model, CPU, fits)
                .listener(
                    event -> {
                      if (event instanceof PruneEvent.Compared one) {
                        compared.add(one.contender());
                      } else if (event instanceof PruneEvent.Fitted part) {
                        fitted.add(part);
                      }
                    })) {
      FitReport report = job.run().report().fit();
      assertEquals(report.contenders(), compared);
      assertEquals(report.tokens() > 0, !fitted.isEmpty());
    }
    fitted.forEach(part -> assertTrue(part.done() <= part.total()));
  }

  /** Neighbours of the best models, and models of other methods, keep the limits of the search. */
  @ParameterizedTest
  @EnumSource(names = {"LACO", "BEAM"})
  void noModelThatIsFittedLacksALayerOutsideTheLimits(SearchSettings.Strategy strategy) {
    Path tokens = Fixtures.tokens(folder, FIXTURE, "eval");
    PruneRequest limited =
        request(FIXTURE, 10)
            .withRule("fit")
            .withFit(new FitSettings(tokens, 100))
            .withSearch(
                new SearchSettings(strategy, null, null, null, null, null, null, 4, 8, null));
    FitReport fit = pruned(FIXTURE, limited, new ArrayList<>()).fit();
    assertTrue(fit.contenders().size() > 2, fit.contenders()::toString);
    for (FitReport.Contender contender : fit.contenders()) {
      assertTrue(
          contender.layers().containsAll(List.of(0, 1, 2, 3, 4, 8, 9, 10, 11)),
          contender::toString);
    }
  }

  /** What was to be the time of the fit is that of the training. */
  @Test
  void aFitThatIsLeftOutIsExpectedToTakeNoTime() {
    String fixture = "llama_untied_gqa";
    Path tokens = Fixtures.tokens(folder, fixture, "eval");
    PruneRequest fits = request(fixture, 6).withRule("fit").withFit(new FitSettings(tokens, 100));
    try (Model model = Model.open(Fixtures.model(fixture));
        PruneJob job = new PruneJob(model, CPU, fits)) {
      FitReport report = job.run().report().fit();
      assertEquals(0, report.tokens());
      assertEquals(0, job.progress().expected().get(FittedChoice.fitStage("")));
    }
  }

  @Test
  void aCancelledJobEndsAndKeepsItsBestPlan() {
    Cancellation token = new Cancellation();
    try (Model model = Model.open(MODEL);
        PruneJob job = new PruneJob(model, CPU, request()).cancelledBy(token)) {
      job.listener(
          event -> {
            if (event instanceof PruneEvent.BetterModel) {
              token.cancel();
            }
          });
      assertThrows(CancelledException.class, job::run);
      assertTrue(job.best().isPresent());
    }
  }

  @Test
  void twoJobsRunAtOnceAndGiveWhatTheyGiveAlone() throws Exception {
    PruneResultDigest alone = prune(request());
    try (ExecutorService threads = Executors.newFixedThreadPool(2)) {
      PruneRequest request = request();
      Callable<PruneResultDigest> job = () -> prune(request);
      for (Future<PruneResultDigest> done : threads.invokeAll(List.of(job, job))) {
        assertEquals(alone, done.get());
      }
    }
  }

  private record PruneResultDigest(String plan, double similarity) {}

  private static PruneResultDigest prune(PruneRequest request) {
    try (Model model = Model.open(MODEL);
        PruneJob job = new PruneJob(model, CPU, request)) {
      PruneResult result = job.run();
      return new PruneResultDigest(
          result.plan().toJsonText(), result.report().search().finalSimilarity());
    }
  }

  @Test
  void whatCannotBeMetIsSaidInTheWordsOfARequest() {
    try (Model model = Model.open(MODEL)) {
      UsageException tooMany =
          assertThrows(
              UsageException.class,
              () -> new PruneJob(model, CPU, PruneRequest.of(Goal.layers(100))));
      assertTrue(
          tooMany.getMessage().startsWith("targetLayers 100: expected 1 to"), tooMany::getMessage);
      UsageException loop =
          assertThrows(
              UsageException.class,
              () ->
                  new PruneJob(
                      model,
                      CPU,
                      request()
                          .withSearch(
                              new SearchSettings(
                                  null, null, null, "4", null, null, null, null, null, null))));
      assertFalse(loop.getMessage().contains("--"), loop::getMessage);
    }
  }

  @Test
  void requestsAreEqualByWhatTheySay() {
    assertEquals(
        PruneRequest.of(Goal.layers(3)).withRule("drop"),
        PruneRequest.of(Goal.layers(3)).withRule("drop"));
  }
}
