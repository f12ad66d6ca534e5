package dev.laco.run;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.DeviceSettings;
import dev.laco.Fixtures;
import dev.laco.Model;
import dev.laco.checkpoint.Checkpoint;
import dev.laco.checkpoint.export.ModelWeights;
import dev.laco.prune.Goal;
import dev.laco.prune.PruneJob;
import dev.laco.prune.PruneRequest;
import dev.laco.prune.TextSettings;
import dev.laco.report.PruneReport;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.foreign.ValueLayout;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Two readers of one quantised model, whose weights are computed into memory that both share. */
final class SharedModelTest {
  private static final String FIXTURE = "llama_untied_gqa";
  private static final Path FILE =
      Fixtures.RESOURCES.resolve("gguf").resolve(FIXTURE + ".q8_0.gguf");

  @TempDir Path folder;

  @Test
  void whatOneReaderGivesUpStaysForAJob() {
    PruneReport alone;
    try (Model model = Model.open(FILE)) {
      alone = pruned(model, () -> {});
    }
    try (Model model = Model.open(FILE)) {
      AtomicInteger passes = new AtomicInteger();
      PruneReport beside =
          pruned(
              model,
              () -> {
                passes.incrementAndGet();
                useAndGiveUpAll(model.checkpoint());
              });
      assertTrue(passes.get() > 3);
      assertEquals(alone.plan(), beside.plan());
      assertEquals(alone.quality(), beside.quality());
    }
  }

  @Test
  void whenTheJobIsOverNothingIsHeldAnyMore() {
    try (Model model = Model.open(FILE)) {
      pruned(model, () -> {});
      assertTrue(isAnyComputed(model.checkpoint()), "for the next job");
      useAndGiveUpAll(model.checkpoint());
      assertFalse(isAnyComputed(model.checkpoint()));
    }
  }

  private PruneReport pruned(Model model, Runnable atEachEvent) {
    Path tokens = Fixtures.tokens(folder, FIXTURE, "calib");
    PruneRequest request =
        PruneRequest.of(Goal.layers(model.config().numHiddenLayers() - 1))
            .withRule("drop")
            .withTexts(new TextSettings(tokens, null, tokens));
    try (PruneJob job =
        new PruneJob(model, DeviceSettings.of("cpu").withThreads(1), request)
            .samples(0)
            .listener(event -> atEachEvent.run())) {
      return job.run().report();
    }
  }

  /** Reads every weight as a job does that writes a model. */
  private static void useAndGiveUpAll(Checkpoint checkpoint) {
    for (String name : checkpoint.weightNames()) {
      try {
        ModelWeights.of(checkpoint).use(name, weight -> {});
      } catch (IOException e) {
        throw new UncheckedIOException(e);
      }
    }
  }

  private static boolean isAnyComputed(Checkpoint checkpoint) {
    return checkpoint.weightNames().stream()
        .filter(name -> checkpoint.file(name).info(name).decoder() != null)
        .anyMatch(
            name -> {
              byte[] bytes = checkpoint.placeOf(name).data().toArray(ValueLayout.JAVA_BYTE);
              return !Arrays.equals(bytes, new byte[bytes.length]);
            });
  }
}
