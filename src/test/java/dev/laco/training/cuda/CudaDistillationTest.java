package dev.laco.training.cuda;

import static org.junit.jupiter.api.Assertions.assertEquals;

import dev.laco.Compute;
import dev.laco.CudaBinding;
import dev.laco.Fixtures;
import dev.laco.apply.PlanApplier;
import dev.laco.backend.Backend;
import dev.laco.backend.MemoryArena;
import dev.laco.backend.cuda.CudaBackend;
import dev.laco.backend.cuda.EmulatedDevice;
import dev.laco.backend.reference.ReferenceBackend;
import dev.laco.checkpoint.Checkpoint;
import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.LayerMix;
import dev.laco.model.NewWeights;
import dev.laco.report.TrainingStep;
import dev.laco.text.FitText;
import dev.laco.training.Adapters;
import dev.laco.training.Distillation;
import dev.laco.training.DistillationSettings;
import dev.laco.training.DistillationText;
import dev.laco.training.NotedSteps;
import dev.laco.training.Residence;
import dev.laco.training.Student;
import dev.laco.transformer.PlannedLayers;
import dev.laco.transformer.RunningModel;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** A training on the emulated device goes as on the reference backend. */
class CudaDistillationTest {
  private static final String FIXTURE = "llama_tied_rope3";
  private static final int STEPS = 3;
  private static final int LENGTH = 6;

  @BeforeEach
  void reset() {
    EmulatedDevice.reset();
  }

  @AfterEach
  void nothingIsLeftOnTheDevice() {
    EmulatedDevice.assertNothingLeaks();
  }

  @ParameterizedTest
  @ValueSource(ints = {0, 3})
  void takesTheStepsOfTheReference(int rank) {
    Adapters adapters = rank == 0 ? null : new Adapters(rank, 2 * rank);
    List<TrainingStep> expected;
    List<TrainingStep> found;
    try (Backend backend = new ReferenceBackend(Compute.F32)) {
      expected = train(backend, adapters, Residence.EVERYTHING);
    }
    try (Backend backend = CudaBackend.open(Compute.F32, 0, CudaBinding.FFM)) {
      found = train(backend, adapters, Residence.EVERYTHING);
      // With less in memory the steps are the same.
      assertEquals(found, train(backend, adapters, Residence.ONE_LAYER));
    }
    assertEquals(STEPS, found.size());
    for (int i = 0; i < STEPS; i++) {
      TrainingStep step = expected.get(i);
      assertEquals(step.loss(), found.get(i).loss(), 1e-3 * step.loss());
      assertEquals(step.gradientNorm(), found.get(i).gradientNorm(), 1e-3 * step.gradientNorm());
    }
  }

  private static List<TrainingStep> train(
      Backend backend, @Nullable Adapters adapters, Residence residence) {
    NotedSteps noted = new NotedSteps();
    try (Checkpoint checkpoint = Checkpoint.open(Fixtures.model(FIXTURE))) {
      RunningModel running = new RunningModel(backend, checkpoint.config(), checkpoint);
      CollapsePlan whole = CollapsePlan.identity(PlanApplier.source(checkpoint));
      int gap = whole.depth() - 2;
      List<LayerMix> kept = new ArrayList<>(whole.layers());
      kept.remove(gap);
      CollapsePlan plan = new CollapsePlan(whole.source(), kept);
      DistillationText text =
          new DistillationText(List.of(chunk(1), chunk(30)), List.of(chunk(60)));
      DistillationSettings settings =
          new DistillationSettings(LENGTH, LENGTH, 1e-3, 0.1, 0.1, 0.01, 1, 0.25, 1, 0, adapters);
      try (MemoryArena memory = new MemoryArena();
          PlannedLayers layers = running.pruned(plan, NewWeights.NONE);
          Distillation training =
              new Distillation(
                  running,
                  new Student(layers.outside(), layers, gap),
                  text,
                  settings,
                  new Distillation.Place(memory, residence, Path.of("target")))) {
        training.run(STEPS * LENGTH, settings.rate(), noted);
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
