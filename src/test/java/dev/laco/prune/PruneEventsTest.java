package dev.laco.prune;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.Cancellation;
import dev.laco.CancelledException;
import dev.laco.DeviceSettings;
import dev.laco.Fixtures;
import dev.laco.JobEvent;
import dev.laco.JobProgress;
import dev.laco.Model;
import dev.laco.TestFiles;
import dev.laco.checkpoint.Checkpoint;
import dev.laco.report.FitReport;
import dev.laco.report.PruneReport;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.function.Predicate;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** What a prune of the demo model tells, and what is left of one that is cancelled. */
final class PruneEventsTest {
  private static final DeviceSettings CPU = DeviceSettings.of("cpu");
  private static final String NAME = "llama_tied_rope3";
  private static final Path FIXTURE = Fixtures.model(NAME);
  private static final PruneRequest ONE_LAYER =
      PruneRequest.of(Goal.layers(15)).withRule("fit").withFit(new FitSettings(null, 1000));

  @TempDir Path folder;

  private record Told(JobEvent event, JobProgress.State state) {}

  private static <E> List<E> only(Class<E> kind, List<Told> told) {
    return told.stream().map(Told::event).filter(kind::isInstance).map(kind::cast).toList();
  }

  @Test
  void everyStepIsToldWithWhatIsDoneAndLeftOfTheWholeJob() {
    List<Told> told = new ArrayList<>();
    Path out = folder.resolve("out");
    PruneReport report;
    try (Model model = Model.open(Fixtures.STORYTELLER);
        PruneJob job =
            new PruneJob(model, CPU, ONE_LAYER, WriteSettings.DEFAULT.format(out))
                .follower((event, state) -> told.add(new Told(event, state)))) {
      report = job.run().writeTo(out, WriteSettings.DEFAULT);
    }
    assertEquals(1, only(JobEvent.DeviceOpened.class, told).size());
    assertEquals(1, only(JobEvent.ModelOpened.class, told).size());
    assertEquals(1, only(JobEvent.MemoryPlanned.class, told).size());
    assertEquals(report.search().trials().size(), only(PruneEvent.Tried.class, told).size());
    List<PruneEvent.BetterModel> better = only(PruneEvent.BetterModel.class, told);
    assertTrue(better.size() >= 2, better::toString);
    assertEquals(report.plan().layers(), better.getLast().plan().layers());
    FitReport fit = report.fit();
    assertEquals(
        fit.contenders(),
        only(PruneEvent.Compared.class, told).stream()
            .map(PruneEvent.Compared::contender)
            .toList());
    List<PruneEvent.Fitted> fitted = only(PruneEvent.Fitted.class, told);
    assertEquals(fitted.getLast().total(), fitted.getLast().done());
    PruneReport.Measured quality = (PruneReport.Measured) report.quality();
    assertEquals(
        List.of(
            new JobEvent.Measured("perplexity, dense", quality.text(), quality.dense()),
            new JobEvent.Measured("perplexity, pruned", quality.text(), quality.pruned())),
        only(JobEvent.Measured.class, told));
    try (Checkpoint written = Checkpoint.open(out)) {
      assertEquals(new JobEvent.FileWritten(out, written.totalBytes()), told.getLast().event());
    }
    assertEquals(1, only(JobEvent.FileWritten.class, told).size());
    double share = 0;
    // Whether the stages are expected; a job of less than two seconds tells no estimate of them.
    boolean expected = false;
    for (Told step : told) {
      assertTrue(step.state.share() >= share && step.state.share() <= 1, step::toString);
      share = step.state.share();
      expected |=
          step.event instanceof JobEvent.TimeEstimated
              || step.event instanceof PruneEvent.SearchStarted;
      assertEquals(expected, step.state.left().isPresent(), step::toString);
    }
    assertEquals(1, share, 1e-9);
    assertEquals(0, told.getLast().state.left().orElseThrow(), 1e-9);
  }

  private PruneRequest ofFixture(String rule) {
    Path calibration = Fixtures.tokens(folder, NAME, "calib");
    Path text = Fixtures.tokens(folder, NAME, "eval");
    PruneRequest request =
        PruneRequest.of(Goal.layers(10))
            .withRule(rule)
            .withTexts(new TextSettings(calibration, null, text));
    return rule.equals("fit") ? request.withFit(new FitSettings(text, 100)) : request;
  }

  /** Kinds of events behind which a job is cancelled. */
  private static Predicate<JobEvent> at(String kind) {
    return event -> event.getClass().getSimpleName().equals(kind);
  }

  @ParameterizedTest
  @ValueSource(strings = {"BetterModel", "Searched", "Compared", "Fitted", "Measured"})
  void aCancelledJobKeepsItsBestPlanAndLeavesNothing(String kind) throws IOException {
    PruneRequest request = ofFixture("fit");
    Map<String, String> before = TestFiles.tree(folder);
    Cancellation token = new Cancellation();
    List<JobEvent> after = new ArrayList<>();
    PruneEvent.BetterModel best;
    try (Model model = Model.open(FIXTURE);
        PruneJob job = new PruneJob(model, CPU, request).cancelledBy(token)) {
      job.listener(
          event -> {
            if (token.isCancelled()) {
              after.add(event);
            }
            if (at(kind).test(event)) {
              token.cancel();
            }
          });
      assertThrows(CancelledException.class, job::run);
      best = job.best().orElseThrow();
      assertTrue(best.plan().depth() < 12, () -> best.plan().toJsonText());
    }
    assertEquals(before, TestFiles.tree(folder));
    assertFalse(after.stream().anyMatch(JobEvent.FileWritten.class::isInstance));
    // The plan is one that another job can go on from.
    if (best.tensors().isEmpty()) {
      Path plan = Files.writeString(folder.resolve("plan.json"), best.plan().toJsonText());
      try (Model model = Model.open(FIXTURE);
          PruneJob job = new PruneJob(model, CPU, ofFixture("drop").withFromPlan(plan))) {
        assertEquals(best.plan().layers(), job.run().plan().layers());
      }
    }
  }

  @Test
  void aJobThatIsCancelledWhileItWritesLeavesNothing() {
    PruneRequest request = ofFixture("drop");
    List<String> before = TestFiles.names(folder);
    Cancellation token = new Cancellation();
    JobProgress cancelsAtWriting =
        new JobProgress(
            new JobProgress.StageListener() {
              @Override
              public void began(String stage) {
                if (stage.equals(PruneStages.WRITE)) {
                  token.cancel();
                }
              }

              @Override
              public void ended() {}
            });
    List<JobEvent> told = new ArrayList<>();
    try (Model model = Model.open(FIXTURE);
        PruneJob job =
            new PruneJob(model, CPU, request)
                .listener(told::add)
                .progressOf(cancelsAtWriting)
                .cancelledBy(token)) {
      PruneResult result = job.run();
      assertThrows(
          CancelledException.class,
          () -> result.writeTo(folder.resolve("out"), WriteSettings.DEFAULT));
      assertEquals(job.best().orElseThrow().plan(), result.plan());
    }
    assertFalse(told.stream().anyMatch(JobEvent.FileWritten.class::isInstance));
    assertEquals(before, TestFiles.names(folder));
  }
}
