package dev.laco.heal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.ByteSize;
import dev.laco.Cancellation;
import dev.laco.CancelledException;
import dev.laco.Compute;
import dev.laco.DeviceSettings;
import dev.laco.Fixtures;
import dev.laco.JobEvent;
import dev.laco.Model;
import dev.laco.ResourceException;
import dev.laco.apply.PlanApplier;
import dev.laco.apply.PlanTensors;
import dev.laco.backend.Backend;
import dev.laco.backend.reference.ReferenceBackend;
import dev.laco.checkpoint.Checkpoint;
import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.MergeRule;
import dev.laco.collapse.NormsPolicy;
import dev.laco.model.NewWeights;
import dev.laco.training.Residence;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.foreign.ValueLayout;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What a heal says before it starts. */
class HealJobTest {
  private static final HealRequest REQUEST =
      new HealRequest(HealSettings.DEFAULT.with(512L, HealSettings.Layers.ALL), null, null, null);

  @TempDir Path folder;

  /** Writes the demo model without so many layers behind layer 3. */
  private Path without(Model original, int removed) {
    Path out = folder.resolve("without-" + removed);
    CollapsePlan plan =
        CollapsePlan.identity(PlanApplier.source(original.checkpoint()))
            .fold(3, removed, MergeRule.DROP, NormsPolicy.BASE);
    new PlanApplier(
            original.checkpoint(), plan, new PlanTensors(NewWeights.NONE), 1L << 30, warning -> {})
        .write(out, false, bytes -> {});
    return out;
  }

  /** The original has more layers than the model that is healed, and runs, too. */
  @Test
  void theEstimateIsOfAllLayersOfTheOriginal() {
    try (Model original = Model.open(Fixtures.STORYTELLER);
        Model pruned = Model.open(without(original, 12));
        HealJob job = new HealJob(pruned, original, DeviceSettings.of("reference"), REQUEST);
        Backend backend = new ReferenceBackend(Compute.F32)) {
      Cancellation behindTheEstimate = new Cancellation();
      job.cancelledBy(behindTheEstimate)
          .listener(
              event -> {
                if (event instanceof JobEvent.TimeEstimated) {
                  behindTheEstimate.cancel();
                }
              });
      assertThrows(CancelledException.class, job::run);
      HealStage stage = HealStage.read(REQUEST.heal(), original, false);
      double seconds = stage.seconds(backend, original, 4, Residence.EVERYTHING, folder);
      assertEquals(seconds, job.progress().expected().get(HealStage.NAME), 1e-9 * seconds);
    }
  }

  /** Weights that are computed from a file's bytes are compared one by one. */
  @Test
  void whatIsComparedDoesNotStayInMemory() {
    Path file = Fixtures.RESOURCES.resolve("gguf/llama_untied_gqa.q8_0.gguf");
    try (Model original = Model.open(file);
        Model pruned = Model.open(file);
        HealJob job = new HealJob(pruned, original, DeviceSettings.of("reference"), REQUEST)) {
      String inUse = original.config().architecture().embedding();
      original.checkpoint().tensor(inUse);
      assertTrue(job.mostStateBytes() > 0);
      assertEquals(Set.of(inUse), computed(original.checkpoint()));
      assertEquals(Set.of(), computed(pruned.checkpoint()));
      original.checkpoint().giveUp(inUse);
      assertEquals(Set.of(), computed(original.checkpoint()));
    }
  }

  /** A heal of ten short steps. */
  private HealRequest fewSteps() {
    Path text = Fixtures.tokens(folder, "llama_untied_gqa", "calib");
    HealSettings settings =
        new HealSettings(
            List.of(text),
            null,
            640L,
            64,
            1e-4,
            null,
            HealSettings.Layers.ALL,
            0L,
            null,
            null,
            HealSettings.Optimizer.ADAMW,
            HealSettings.Masters.F32);
    return new HealRequest(settings, null, null, text);
  }

  /** What does not stay in memory leaves room on the disk for what the training gives. */
  @Test
  void theFileOfATrainingLeavesRoomForOtherFiles() {
    String tooLittle = refused(1024, 0);
    Matcher needed = Pattern.compile("buffers need ([0-9.]+) ([kM]B)").matcher(tooLittle);
    assertTrue(needed.find(), tooLittle);
    // The message has one digit behind the point.
    String least = Double.parseDouble(needed.group(1)) + 0.1 + needed.group(2);
    String full = refused(ByteSize.parse(least).bytes(), Long.MAX_VALUE / 2);
    assertTrue(full.contains(" of a training that are kept in a file, beside "), full);
  }

  /** Why a heal cannot run with so much memory and so much room on the disk for other files. */
  private String refused(long memory, long others) {
    Path file = Fixtures.model("llama_untied_gqa");
    try (Model original = Model.open(file);
        Model pruned = Model.open(file);
        HealJob job =
            new HealJob(
                pruned, original, DeviceSettings.of("cpu").withMemory(memory, null), fewSteps())) {
      job.scratchIn(folder, others);
      return assertThrows(ResourceException.class, job::run).getMessage();
    }
  }

  /** The disk has its room again once a newer state takes its place. */
  @Test
  void theStateThatATrainingGoesOnFromIsNotKeptOpen() throws IOException {
    HealRequest request = fewSteps();
    Path state = folder.resolve("state");
    Path file = Fixtures.model("llama_untied_gqa");
    Set<String> mapped = new TreeSet<>();
    try (Model original = Model.open(file);
        Model pruned = Model.open(file)) {
      Cancellation afterTwoSteps = new Cancellation();
      try (HealJob job = new HealJob(pruned, original, DeviceSettings.of("cpu"), request)) {
        job.keptIn(state, 0)
            .cancelledBy(afterTwoSteps)
            .listener(
                event -> {
                  if (event instanceof HealEvent.Stepped stepped && stepped.step().number() == 2) {
                    afterTwoSteps.cancel();
                  }
                });
        assertThrows(CancelledException.class, job::run);
      }
      assertTrue(HealState.bytesLeft(state) > 0);
      try (HealJob job = new HealJob(pruned, original, DeviceSettings.of("cpu"), request)) {
        job.keptIn(state, 3600)
            .listener(
                event -> {
                  if (event instanceof HealEvent.Stepped) {
                    mapped.addAll(mappedFiles());
                  }
                });
        job.run();
      }
    }
    assertTrue(mapped.stream().anyMatch(name -> name.endsWith(".safetensors")), mapped::toString);
    assertTrue(
        mapped.stream().noneMatch(name -> name.startsWith(state.toString())), mapped::toString);
  }

  /** The files that this process has mapped into memory. */
  private static Set<String> mappedFiles() {
    try {
      return Files.readAllLines(Path.of("/proc/self/maps")).stream()
          .filter(line -> line.contains("/"))
          .map(line -> line.substring(line.indexOf('/')))
          .collect(Collectors.toSet());
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** The weights that were computed and are in memory. */
  private static Set<String> computed(Checkpoint checkpoint) {
    return checkpoint.weightNames().stream()
        .filter(name -> checkpoint.file(name).info(name).decoder() != null)
        .filter(
            name -> {
              byte[] bytes = checkpoint.placeOf(name).data().toArray(ValueLayout.JAVA_BYTE);
              return !Arrays.equals(bytes, new byte[bytes.length]);
            })
        .collect(Collectors.toSet());
  }
}
