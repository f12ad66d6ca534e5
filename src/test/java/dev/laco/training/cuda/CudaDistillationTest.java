package dev.laco.training.cuda;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.Compute;
import dev.laco.CudaBinding;
import dev.laco.Fixtures;
import dev.laco.backend.Backend;
import dev.laco.backend.MemoryArena;
import dev.laco.backend.cuda.CudaBackend;
import dev.laco.backend.cuda.EmulatedDevice;
import dev.laco.backend.cuda.FreshDevice;
import dev.laco.backend.reference.ReferenceBackend;
import dev.laco.checkpoint.Checkpoint;
import dev.laco.report.TrainingStep;
import dev.laco.run.MemoryPlan;
import dev.laco.text.FitText;
import dev.laco.training.Adapters;
import dev.laco.training.Distillation;
import dev.laco.training.DistillationSettings;
import dev.laco.training.DistillationText;
import dev.laco.training.LabelShare;
import dev.laco.training.NotedSteps;
import dev.laco.training.PrunedModel;
import dev.laco.training.Residence;
import dev.laco.transformer.AdamWState;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** A training on the emulated device goes as on the reference backend. */
@ExtendWith(FreshDevice.class)
class CudaDistillationTest {
  private static final String FIXTURE = "llama_tied_rope3";
  private static final int STEPS = 3;
  private static final int LENGTH = 6;

  @ParameterizedTest
  @ValueSource(ints = {0, 3})
  void takesTheStepsOfTheReference(int rank) {
    Adapters adapters = rank == 0 ? null : new Adapters(rank, 2 * rank);
    List<TrainingStep> expected;
    List<TrainingStep> found;
    try (Backend backend = new ReferenceBackend(Compute.F32)) {
      expected = train(backend, adapters, AdamWState.FULL, Residence.EVERYTHING);
    }
    try (Backend backend = CudaBackend.open(Compute.F32, 0, CudaBinding.FFM)) {
      found = train(backend, adapters, AdamWState.FULL, Residence.EVERYTHING);
      // With less in memory the steps are the same.
      assertEquals(found, train(backend, adapters, AdamWState.FULL, Residence.ONE_LAYER));
    }
    assertEquals(STEPS, found.size());
    for (int i = 0; i < STEPS; i++) {
      TrainingStep step = expected.get(i);
      assertEquals(step.loss(), found.get(i).loss(), 1e-3 * step.loss());
      assertEquals(step.gradientNorm(), found.get(i).gradientNorm(), 1e-3 * step.gradientNorm());
    }
  }

  /** A step is the same in one batch, as a GPU takes it, and in several. */
  @Test
  void aStepMayRunAtOnce() {
    try (Backend backend = CudaBackend.open(Compute.F32, 0, CudaBinding.FFM)) {
      List<TrainingStep> several =
          train(backend, how(2 * LENGTH, LENGTH, null, AdamWState.FULL), Residence.EVERYTHING);
      List<TrainingStep> atOnce =
          train(backend, how(2 * LENGTH, 2 * LENGTH, null, AdamWState.FULL), Residence.EVERYTHING);
      assertEquals(STEPS, atOnce.size());
      for (int i = 0; i < STEPS; i++) {
        double loss = several.get(i).loss();
        assertEquals(loss, atOnce.get(i).loss(), 1e-5 * loss);
        double norm = several.get(i).gradientNorm();
        assertEquals(norm, atOnce.get(i).gradientNorm(), 1e-5 * norm);
      }
    }
  }

  private static DistillationSettings how(
      int stepTokens, int batchTokens, @Nullable Adapters adapters, AdamWState held) {
    return new DistillationSettings(
        stepTokens, false, batchTokens, 1e-3, 0.01, 1, LabelShare.of(0.25), 1, 0, adapters, held);
  }

  /**
   * Running means in 8 bits, and no masters: the steps are hardly others, and what the memory plan
   * saves is saved.
   */
  @ParameterizedTest
  @CsvSource({"true, true", "false, false", "true, false"})
  void takesNoMoreMemoryThanPlanned(boolean eightBit, boolean masters) {
    AdamWState held = new AdamWState(eightBit, masters);
    List<TrainingStep> expected;
    try (Backend backend = new ReferenceBackend(Compute.F32)) {
      expected = train(backend, null, held, Residence.EVERYTHING);
    }
    long before = peak(AdamWState.FULL, new ArrayList<>());
    List<TrainingStep> steps = new ArrayList<>();
    long saved = before - peak(held, steps);
    try (Checkpoint checkpoint = Checkpoint.open(Fixtures.model(FIXTURE))) {
      long planned = planned(checkpoint, AdamWState.FULL) - planned(checkpoint, held);
      assertTrue(saved >= planned, () -> saved + " saved, planned " + planned);
      assertEquals(planned, saved, 0.1 * planned);
    }
    for (int i = 0; i < STEPS; i++) {
      double loss = expected.get(i).loss();
      assertEquals(loss, steps.get(i).loss(), 1e-2 * loss);
    }
  }

  private static long planned(Checkpoint checkpoint, AdamWState held) {
    int trained = 1;
    long parameters = checkpoint.config().layerParameters();
    return Distillation.layerBytes(
        checkpoint.config(),
        DistillationSettings.forModel(parameters, null, held),
        parameters,
        MemoryPlan.layerBytes(checkpoint),
        trained,
        Residence.EVERYTHING);
  }

  /** The most bytes of device memory that a training used. */
  private static long peak(AdamWState held, List<TrainingStep> steps) {
    EmulatedDevice.reset();
    try (Backend backend = CudaBackend.open(Compute.F32, 0, CudaBinding.FFM)) {
      steps.addAll(train(backend, null, held, Residence.EVERYTHING));
    }
    return EmulatedDevice.work().getOrDefault("most bytes of device memory", 0L);
  }

  private static List<TrainingStep> train(
      Backend backend, @Nullable Adapters adapters, AdamWState held, Residence residence) {
    return train(backend, how(LENGTH, LENGTH, adapters, held), residence);
  }

  private static List<TrainingStep> train(
      Backend backend, DistillationSettings settings, Residence residence) {
    NotedSteps noted = new NotedSteps();
    try (Checkpoint checkpoint = Checkpoint.open(Fixtures.model(FIXTURE));
        PrunedModel pruned = PrunedModel.of(backend, checkpoint)) {
      DistillationText text =
          new DistillationText(List.of(chunk(1), chunk(30)), List.of(chunk(60)));
      try (MemoryArena memory = new MemoryArena();
          Distillation training =
              new Distillation(
                  pruned.running(),
                  pruned.student(0),
                  text,
                  settings,
                  new Distillation.Place(memory, residence, Path.of("target"), 0))) {
        training.run((long) STEPS * settings.stepTokens(), settings.rate(), noted);
      }
    }
    return noted.steps();
  }

  /** Consecutive token ids. */
  private static FitText.Chunk chunk(int first) {
    int[] ids = new int[LENGTH];
    for (int i = 0; i < LENGTH; i++) {
      ids[i] = first + i;
    }
    return new FitText.Chunk(ids, first, "a text");
  }
}
