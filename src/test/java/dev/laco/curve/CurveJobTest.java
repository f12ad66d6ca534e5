package dev.laco.curve;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.laco.BadInputException;
import dev.laco.Cancellation;
import dev.laco.CancelledException;
import dev.laco.Compute;
import dev.laco.DeviceSettings;
import dev.laco.Fixtures;
import dev.laco.JobEvent;
import dev.laco.JobProgress;
import dev.laco.Model;
import dev.laco.ResourceException;
import dev.laco.TestFiles;
import dev.laco.UsageException;
import dev.laco.backend.Backend;
import dev.laco.backend.cpu.CpuBackend;
import dev.laco.compare.Strategy;
import dev.laco.curve.CurveResult.Dense;
import dev.laco.curve.CurveResult.Point;
import dev.laco.fit.FittedChoice;
import dev.laco.fit.WholeText;
import dev.laco.prune.FitSettings;
import dev.laco.prune.GivenPlan;
import dev.laco.prune.Goal;
import dev.laco.prune.PruneJob;
import dev.laco.prune.PruneRequest;
import dev.laco.prune.PruneResult;
import dev.laco.prune.TextSettings;
import dev.laco.report.Fidelity;
import dev.laco.report.Perplexity;
import dev.laco.report.PruneReport;
import dev.laco.run.JobTexts;
import dev.laco.text.FitText;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.function.Consumer;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** A curve over sizes without a command line. */
final class CurveJobTest {
  private static final String FIXTURE = "llama_untied_gqa";
  private static final DeviceSettings CPU =
      DeviceSettings.of("cpu").withThreads(1).withCompute(Compute.F32);

  @TempDir Path folder;

  private TextSettings texts() {
    return new TextSettings(
        Fixtures.tokens(folder, FIXTURE, "calib"), null, Fixtures.tokens(folder, FIXTURE, "eval"));
  }

  private CurveRequest request(String rule) {
    return new CurveRequest(
        Stream.of(7, 5, 4).map(Goal::layers).toList(),
        rule,
        texts(),
        FitSettings.DEFAULT,
        List.of());
  }

  private CurveResult run(CurveRequest request, String name, Consumer<? super JobEvent> listener) {
    try (Model model = Model.open(Fixtures.model(FIXTURE))) {
      return new CurveJob(model, CPU, request, folder.resolve(name)).listener(listener).run();
    }
  }

  private static int searched(List<JobEvent> events) {
    return events.stream()
        .mapToInt(
            event ->
                event instanceof CurveEvent.Searched(int models, int blocks) ? models + blocks : 0)
        .sum();
  }

  private static List<Integer> measured(List<JobEvent> events, boolean known) {
    List<Integer> layers = new ArrayList<>();
    for (JobEvent event : events) {
      if (event instanceof CurveEvent.PointMeasured point && point.known() == known) {
        layers.add(point.point().layers());
      }
    }
    return layers;
  }

  @Test
  void oneSearchForTheSmallestSizeGivesTheModelsOfAll() {
    List<JobEvent> events = new ArrayList<>();
    CurveResult curve = run(request("drop"), "curve", events::add);
    assertEquals(List.of(7, 5, 4), curve.points().stream().map(Point::layers).toList());
    try (Model model = Model.open(Fixtures.model(FIXTURE));
        PruneJob prune =
            new PruneJob(
                model, CPU, PruneRequest.of(Goal.layers(4)).withRule("drop").withTexts(texts()))) {
      PruneResult alone = prune.run();
      assertEquals(alone.report().search().trials().size(), searched(events));
      Point last = curve.points().getLast();
      try (GivenPlan written = GivenPlan.read(folder.resolve("curve").resolve(last.plan()))) {
        assertEquals(alone.plan().layers(), written.plan().layers());
      }
      PruneReport.Measured quality = (PruneReport.Measured) alone.report().quality();
      assertEquals(quality.pruned().meanNll(), last.fidelity().perplexity().meanNll(), 1e-9);
      assertEquals(quality.dense().meanNll(), curve.dense().perplexity().meanNll(), 1e-9);
    }
  }

  /** The costs of all blocks are measured once, as a prune to the smallest size measures them. */
  @Test
  void beforeAFitOneWalkGivesTheModelsOfAllSizes() {
    FitSettings fit = new FitSettings(Fixtures.tokens(folder, FIXTURE, "eval"), null);
    CurveRequest request =
        new CurveRequest(
            Stream.of(7, 5, 4).map(Goal::layers).toList(), "fit", texts(), fit, List.of());
    List<JobEvent> events = new ArrayList<>();
    CurveResult curve = run(request, "curve", events::add);
    assertEquals(List.of(7, 5, 4), curve.points().stream().map(Point::layers).toList());
    try (Model model = Model.open(Fixtures.model(FIXTURE));
        PruneJob prune =
            new PruneJob(
                model,
                CPU,
                PruneRequest.of(Goal.layers(4)).withRule("fit").withTexts(texts()).withFit(fit))) {
      PruneResult alone = prune.run();
      assertEquals(alone.report().search().blocks().size(), searched(events));
      PruneReport.Measured quality = (PruneReport.Measured) alone.report().quality();
      assertEquals(
          quality.pruned().meanNll(),
          curve.points().getLast().fidelity().perplexity().meanNll(),
          1e-9);
    }
  }

  @Test
  void whatWasKilledGoesOnAndRepeatsNothing() {
    CurveRequest request =
        new CurveRequest(
            Stream.of(7, 5, 4).map(Goal::layers).toList(),
            "fit",
            texts(),
            new FitSettings(Fixtures.tokens(folder, FIXTURE, "eval"), null),
            List.of(Strategy.named("last"), Strategy.named("shortgpt")));
    ObjectNode whole = withoutSpeed(run(request, "whole", event -> {}));
    Cancellation token = new Cancellation();
    List<JobEvent> first = new ArrayList<>();
    try (Model model = Model.open(Fixtures.model(FIXTURE))) {
      CurveJob job =
          new CurveJob(model, CPU, request, folder.resolve("killed"))
              .cancelledBy(token)
              .listener(
                  event -> {
                    first.add(event);
                    if (event instanceof CurveEvent.PointMeasured) {
                      token.cancel();
                    }
                  });
      assertThrows(CancelledException.class, job::run);
    }
    assertEquals(List.of(7), measured(first, false));
    List<JobEvent> second = new ArrayList<>();
    CurveResult resumed = run(request, "killed", second::add);
    assertEquals(0, searched(second));
    assertEquals(List.of(7), measured(second, true));
    assertEquals(List.of(5, 4), measured(second, false));
    assertEquals(whole, withoutSpeed(resumed));
    assertEquals(6, resumed.peers().size());
    List<JobEvent> third = new ArrayList<>();
    // Not even the speed is measured again.
    assertEquals(resumed, run(request, "killed", third::add));
    assertEquals(List.of(7, 5, 4), measured(third, true));
    // Only the plans name new tensors; each is a checkpoint without a search.
    try (GivenPlan plan = GivenPlan.read(folder.resolve("killed/layers-5.json"))) {
      assertTrue(!plan.tensors().isEmpty());
    }
  }

  private static ObjectNode withoutSpeed(CurveResult curve) {
    ObjectNode json = CurveJson.of(curve);
    json.get("points")
        .forEach(point -> ((ObjectNode) point).remove(List.of("tokensPerSecond", "speedup")));
    return json;
  }

  /** The time that a sweep is expected to take is that of its comparison, too. */
  @Test
  void strategiesThatAreComparedAreExpectedAndThoseLeftOutSayWhy() {
    String mixture = "qwen3_moe";
    TextSettings texts =
        new TextSettings(
            Fixtures.tokens(folder, mixture, "calib"),
            null,
            Fixtures.tokens(folder, mixture, "eval"));
    CurveRequest request =
        new CurveRequest(
            Stream.of(5, 4).map(Goal::layers).toList(),
            "drop",
            texts,
            FitSettings.DEFAULT,
            List.of(Strategy.named("last"), Strategy.named("sliding-window")));
    JobProgress progress = new JobProgress(JobProgress.StageListener.NONE);
    List<Set<String>> expected = new ArrayList<>();
    CurveResult curve;
    try (Model model = Model.open(Fixtures.model(mixture))) {
      curve =
          new CurveJob(model, CPU, request, folder.resolve("curve"))
              .progressOf(progress)
              .listener(
                  event -> {
                    if (event instanceof CurveEvent.Searched) {
                      expected.add(progress.expected().keySet());
                    }
                  })
              .run();
    }
    assertTrue(
        expected
            .getFirst()
            .containsAll(List.of("held-out text, 5 layers", "held-out text, last, 5 layers")),
        expected::toString);
    assertEquals(2, curve.peers().size());
    List<String> leftOut =
        curve.warnings().stream()
            .filter(warning -> warning.matches("sliding-window at [45] layers: left out: .*"))
            .toList();
    assertEquals(2, leftOut.size(), curve.warnings()::toString);
    try (Model model = Model.open(Fixtures.model(mixture))) {
      // What was left out is said again where nothing is left to do.
      assertEquals(curve, new CurveJob(model, CPU, request, folder.resolve("curve")).run());
    }
  }

  @Test
  void aFolderOfAnotherRequestIsRefusedAndKept() {
    run(request("drop"), "curve", event -> {});
    UsageException other =
        assertThrows(UsageException.class, () -> run(request("replace"), "curve", event -> {}));
    assertTrue(other.getMessage().contains("another request"), other.getMessage());
    assertThrows(UsageException.class, () -> run(request("drop"), ".", event -> {}));
    try (Model model = Model.open(Fixtures.model(FIXTURE))) {
      CurveRequest same =
          new CurveRequest(List.of(Goal.layers(8)), null, texts(), FitSettings.DEFAULT, List.of());
      assertThrows(UsageException.class, () -> new CurveJob(model, CPU, same, folder));
      assertEquals(
          List.of(7, 6, 5, 4),
          new CurveRequest(List.of(), null, texts(), FitSettings.DEFAULT, List.of()).depths(model));
    }
  }

  /** What was measured on a text does not stand beside what is measured on another. */
  @Test
  void aFolderOfOtherTextsIsRefusedAlthoughTheFilesHaveTheSameNames() {
    Path fit = Fixtures.randomTokens(folder.resolve("fit.json"), 1, 4, 64);
    TextSettings texts = texts();
    CurveRequest request =
        new CurveRequest(
            List.of(Goal.layers(6)), "drop", texts, new FitSettings(fit, null), List.of());
    CurveResult first = run(request, "curve", event -> {});
    for (Path text : Stream.of(texts.calibration(), texts.evaluationTokens(), fit).toList()) {
      String before = Fixtures.read(text).toString();
      Fixtures.randomTokens(text, 2, 4, 64);
      UsageException other =
          assertThrows(UsageException.class, () -> run(request, "curve", event -> {}));
      assertTrue(
          other.getMessage().contains("holds the sweep of another request, model or text"),
          other.getMessage());
      TestFiles.write(text, before);
    }
    assertEquals(first, run(request, "curve", event -> {}));
  }

  @Test
  void twoSweepsDoNotShareAFolder() {
    Path curve = folder.resolve("curve");
    assertTrue(curve.toFile().mkdir());
    // What a sweep leaves that is killed keeps nobody out.
    TestFiles.write(curve.resolve(".lock"), "");
    TestFiles.write(curve.resolve(".laco-1.lock"), "");
    List<ResourceException> refused = new ArrayList<>();
    CurveResult first =
        run(
            request("drop"),
            "curve",
            event -> {
              if (event instanceof CurveEvent.PointMeasured) {
                refused.add(
                    assertThrows(
                        ResourceException.class, () -> run(request("drop"), "curve", other -> {})));
              }
            });
    assertEquals(3, refused.size());
    assertTrue(
        refused.getFirst().getMessage().startsWith(curve + ": another sweep writes there"),
        refused.getFirst().getMessage());
    assertEquals(first, run(request("drop"), "curve", event -> {}));
    assertFalse(TestFiles.names(curve).contains(".lock"));
  }

  @Test
  void aUserIsWarnedOfWhatASweepCannotFitAndOfTheCalibrationText() {
    TextSettings texts =
        new TextSettings(
            Fixtures.randomTokens(folder.resolve("long.json"), 1, 1, 300),
            null,
            Fixtures.tokens(folder, FIXTURE, "eval"));
    CurveRequest request =
        new CurveRequest(
            List.of(Goal.layers(7)),
            null,
            texts,
            FitSettings.DEFAULT,
            List.of(Strategy.named("last")));
    CurveResult curve = run(request, "curve", event -> {});
    assertTrue(
        curve.warnings().stream()
            .anyMatch(warning -> warning.contains("300 tokens, more than the model's")),
        curve.warnings()::toString);
    assertTrue(
        curve.warnings().stream()
            .anyMatch(warning -> warning.contains("weights are not fitted: the model has no")),
        curve.warnings()::toString);
    assertEquals(Set.copyOf(curve.warnings()).size(), curve.warnings().size());
    assertEquals(curve.warnings().size(), CurveJson.of(curve).path("warnings").size());
  }

  /** The memory of a comparison is planned before the sweep. */
  @Test
  void aComparisonThatDoesNotFitIntoTheMemoryIsRefusedBeforeTheSweep() {
    FitSettings fit = new FitSettings(Fixtures.tokens(folder, FIXTURE, "eval"), null);
    CurveRequest request =
        new CurveRequest(
            List.of(Goal.layers(6)), "drop", texts(), fit, List.of(Strategy.named("laco-fit")));
    try (Model model = Model.open(Fixtures.model(FIXTURE));
        Backend backend = CpuBackend.open(Compute.F32, 1)) {
      FitText text = JobTexts.fit(JobTexts.fitSource(model, fit.file()), model, null);
      long fitting = FittedChoice.bytes(backend, model.config(), text, WholeText.of(text));
      CurveJob job =
          new CurveJob(model, CPU.withMemory(fitting, null), request, folder.resolve("curve"));
      ResourceException e = assertThrows(ResourceException.class, job::run);
      assertTrue(e.getMessage().contains("buffers need "), e::getMessage);
    }
    assertEquals(List.of("request.json"), TestFiles.names(folder.resolve("curve")));
  }

  @Test
  void aDamagedFileIsNamed() {
    run(request("drop"), "curve", event -> {});
    damaged(
        "search-5.json", "{\"ranked\":[]}", "ranked: expected plans of this model with 5 layers");
    damaged("search-5.json", "{\"ranked\":[7]}", "search-5.json: ");
    damaged("search-5.json", "[", "search-5.json: ");
    damaged("point-7.json", "{\"layers\":7}", "bytes");
    damaged("dense.json", "{\"layers\":-1}", "layers");
  }

  /** Another sweep reads the file, and has the model of five layers to make. */
  private void damaged(String name, String text, String says) {
    Path file = folder.resolve("curve").resolve(name);
    String before = Fixtures.read(file).toString();
    TestFiles.write(file, text);
    folder.resolve("curve/point-5.json").toFile().delete();
    BadInputException e =
        assertThrows(BadInputException.class, () -> run(request("drop"), "curve", event -> {}));
    assertTrue(e.getMessage().contains(name) && e.getMessage().contains(says), e.getMessage());
    TestFiles.write(file, before);
  }

  @Test
  void theKneeLiesFarthestBelowTheStraightLine() {
    Dense dense = new Dense(10, 100, new Perplexity(1, 2));
    CurveResult curve =
        new CurveResult(
            Path.of("m"),
            "text",
            dense,
            List.of(point(9, 2.01), point(8, 2.05), point(7, 2.1), point(6, 2.6), point(5, 3)),
            List.of(),
            List.of());
    assertEquals(7, curve.knee().orElseThrow().layers());
    assertEquals(Math.exp(0.05), curve.ratio(curve.points().get(1).fidelity()), 1e-12);
  }

  private static Point point(int layers, double nll) {
    return new Point(layers, "", layers, new Fidelity(1, 0, new Perplexity(1, nll)), 1, 1, "");
  }
}
