package dev.laco.prune;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.Compute;
import dev.laco.DeviceSettings;
import dev.laco.Fixtures;
import dev.laco.Model;
import dev.laco.backend.Backend;
import dev.laco.backend.cpu.CpuBackend;
import dev.laco.heal.HealSettings;
import dev.laco.heal.HealStage;
import dev.laco.report.PruneReport;
import dev.laco.report.TrainingStart;
import dev.laco.run.MemoryPlan;
import dev.laco.text.FitText;
import dev.laco.training.Residence;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Optional;
import java.util.function.Predicate;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** A prune that says nothing of rule, time and training trains what it has fitted. */
final class ShortTrainingTest {
  private static final String FIXTURE = "llama_tied_rope3";
  private static final DeviceSettings CPU =
      DeviceSettings.of("cpu").withThreads(1).withCompute(Compute.F32);

  /** The fewest tokens of a fit behind which this model is trained: a quarter has eight steps. */
  private static final int FITTED = 16_384;

  @TempDir Path folder;

  @Test
  void aTrainingHasAQuarterOfTheTokensOfTheFit() {
    PruneRequest asked = request(64_000, FITTED);
    assertEquals(4_096, tokens(asked));
    assertEquals(4_096, tokens(asked.withEffort(PruneRequest.Effort.NORMAL).withRule("auto")));
    assertEquals(4_200, tokens(request(64_000, 16_800)));
    // Too few steps.
    assertNull(tokens(request(64_000, FITTED - 8)));
    // An eighth of the documents is held out, and the fit takes what is left of the others.
    assertNull(tokens(request(23_000, FITTED)));
  }

  /** The default text gives a fit 131,072 tokens, and a quarter of them is left. */
  @Test
  void aTrainingThatIsLeftOutSinceTheModelIsTooLargeIsTold() {
    FitText source = text(163_840);
    FitText fit = source.limit(131_072);
    String told = ShortTraining.tooLarge(source, fit, 1_600_000_000).orElseThrow();
    assertTrue(told.contains("32,768 tokens are fewer than 8 steps"), told);
    assertTrue(told.contains("healTokens"), told);
    assertEquals(Optional.empty(), ShortTraining.tooLarge(source, fit, 1_599_000_000));
    assertEquals(Optional.empty(), ShortTraining.tooLarge(fit, fit, 1_600_000_000));
  }

  @Test
  void whatSomebodyAsksForIsDone() {
    PruneRequest asked = request(64_000, FITTED);
    assertNull(tokens(asked.withRule("refine")));
    assertNull(tokens(asked.withRule("drop").withFit(FitSettings.DEFAULT)));
    assertEquals(500, tokens(asked.withHeal(training(asked, 500))));
    try (Model model = Model.open(Fixtures.model(FIXTURE))) {
      PruneRequest fast = asked.withEffort(PruneRequest.Effort.FAST);
      SearchChoice search = SearchChoice.of(fast.withEffort(null).withRule("align"), model);
      assertNull(PruneTexts.read(fast, search, model, 0).heal());
    }
    // The demo model's text has nothing that the fit does not see.
    try (Model model = Model.open(Fixtures.STORYTELLER)) {
      PruneRequest usual = PruneRequest.of(Goal.layers(12));
      SearchChoice search = SearchChoice.of(usual, model);
      assertNull(PruneTexts.read(usual, search, model, 0).heal());
    }
  }

  @Test
  void howItTrainsCanBeSaidAlone() {
    PruneRequest asked = request(64_000, FITTED).withHeal(how(0.0));
    HealSettings settings = heal(asked).settings();
    assertEquals(4_096, settings.tokens());
    assertEquals(HealSettings.Layers.ALL, settings.layers());
    assertEquals(0, settings.labelShare());
    PruneReport report = PruneJobTest.pruned(FIXTURE, CPU, asked, new ArrayList<>());
    TrainingStart start = report.heal().training().start();
    assertEquals(4_096, start.tokens());
    assertEquals(0, start.firstLayer());
    assertEquals("KL", start.loss());
    // Where the default trains nothing, all documents are trained on once, but every eighth.
    assertEquals(20_200, tokens(request(23_000, FITTED).withHeal(how(0.0))));
  }

  @Test
  void aTrainingWithoutATextOfItsOwnIsOnThatOfTheFit() {
    PruneRequest asked = request(64_000, FITTED);
    String text = asked.fit().file().getFileName().toString();
    PruneRequest best = asked.withEffort(PruneRequest.Effort.BEST);
    assertEquals(text, heal(best).text().name());
    assertEquals(text, heal(asked.withWithin(60.0)).text().name());
    assertEquals(text, heal(best.withRule("align")).text().name());
    try (Model model = Model.open(Fixtures.model(FIXTURE))) {
      SearchChoice drop =
          SearchChoice.of(best.withFit(FitSettings.DEFAULT).withRule("drop"), model);
      assertEquals(text, PruneTexts.read(best, drop, model, 0).heal().text().name());
    }
  }

  @Test
  void allLayersAreTrainedOnAllOfTheText() {
    PruneRequest asked = request(8_000, 2_000).withEffort(PruneRequest.Effort.BEST);
    PruneReport report = PruneJobTest.pruned(FIXTURE, CPU, asked, new ArrayList<>());
    assertEquals(0, report.heal().training().start().firstLayer());
  }

  /** Nothing but how much of the loss is the language model's own. */
  private static HealSettings how(double labelShare) {
    return new HealSettings(
        null, null, null, null, null, labelShare, null, null, null, null, null, null);
  }

  @Test
  void theSameCanBeAskedForByName() {
    PruneRequest asked = request(64_000, FITTED);
    PruneReport report = PruneJobTest.pruned(FIXTURE, CPU, asked, new ArrayList<>());
    TrainingStart start = report.heal().training().start();
    assertEquals(4_096, start.tokens());
    assertEquals(0, start.firstLayer());
    PruneReport same =
        PruneJobTest.pruned(
            FIXTURE,
            CPU,
            asked.withRule("refine").withHeal(training(asked, 4_096)),
            new ArrayList<>());
    assertEquals(report.heal().training().best(), same.heal().training().best());
    assertEquals(report.heal().training().steps(), same.heal().training().steps());
  }

  @Test
  void aModelIsNotTrainedAndThatIsSaidWhereMemoryDoesNotSuffice() {
    PruneRequest asked = request(64_000, FITTED);
    List<String> warnings = new ArrayList<>();
    PruneReport report =
        PruneJobTest.pruned(FIXTURE, CPU.withMemory(null, between(asked)), asked, warnings);
    assertNull(report.heal());
    assertNotNull(report.fit());
    assertTrue(
        warnings.stream()
            .anyMatch(w -> w.startsWith("the fitted model is not trained") && w.contains("4096")),
        warnings::toString);
  }

  /** Bytes of the host that suffice for a fit, and not for a training beside the weights. */
  private static long between(PruneRequest asked) {
    try (Model model = Model.open(Fixtures.model(FIXTURE));
        Backend backend = CpuBackend.open(Compute.F32, 1)) {
      SearchChoice search = SearchChoice.of(asked, model);
      PruneTexts texts = PruneTexts.read(asked, search, model, 0);
      long fit =
          least(
              host -> {
                PruneMemory memory =
                    new PruneMemory(model, host, backend, search, texts.untrained());
                MemoryPlan.Beside beside = memory.beside(memory.sweep(), Residence.EVERYTHING);
                return MemoryPlan.suffices(backend, model.checkpoint(), host, beside, 1);
              });
      long training =
          least(
              host -> {
                PruneMemory memory = new PruneMemory(model, host, backend, search, texts);
                return memory.trainsBesideWeights(memory.sweep());
              });
      assertTrue(fit < training, fit + " and " + training);
      return (fit + training) / 2;
    }
  }

  private static long least(Predicate<DeviceSettings> suffices) {
    long low = MemoryPlan.JAVA_BYTES;
    long high = 1L << 32;
    while (high - low > 1) {
      long middle = (low + high) / 2;
      if (suffices.test(CPU.withMemory(null, middle))) {
        high = middle;
      } else {
        low = middle;
      }
    }
    return high;
  }

  /** A text of chunks of 256 tokens, all 0. */
  private static FitText text(int tokens) {
    FitText.Chunk chunk = new FitText.Chunk(new int[FitText.CHUNK_TOKENS], 0, "text");
    return new FitText("text", Collections.nCopies(tokens / FitText.CHUNK_TOKENS, chunk));
  }

  /** A training of all layers on the text of the fit. */
  private static HealSettings training(PruneRequest fitted, long tokens) {
    return new HealSettings(
        List.of(fitted.fit().file()),
        null,
        tokens,
        null,
        null,
        null,
        HealSettings.Layers.ALL,
        null,
        null,
        null,
        null,
        null);
  }

  /** Tokens of the training that a prune would end with; null where it would not train. */
  private static @Nullable Long tokens(PruneRequest request) {
    HealStage heal = heal(request);
    return heal == null ? null : heal.wantedTokens();
  }

  /** The training that a prune would end with; null where it would not train. */
  private static @Nullable HealStage heal(PruneRequest request) {
    try (Model model = Model.open(Fixtures.model(FIXTURE))) {
      return PruneTexts.read(request, SearchChoice.of(request, model), model, 0).heal();
    }
  }

  /**
   * A prune that is fitted on a part of a text.
   *
   * @param tokens of the text, in documents of 200
   */
  private PruneRequest request(int tokens, int fitted) {
    Path text =
        Fixtures.randomTokens(folder.resolve("text" + tokens + ".json"), 0, tokens / 200, 200);
    return PruneRequest.of(Goal.layers(9))
        .withTexts(new TextSettings(Fixtures.tokens(folder, FIXTURE, "calib"), null, null))
        .withFit(new FitSettings(text, fitted));
  }
}
