package dev.laco.fit.cuda;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.Compute;
import dev.laco.CudaBinding;
import dev.laco.DeviceSettings;
import dev.laco.Fixtures;
import dev.laco.MissingTokenizer;
import dev.laco.Model;
import dev.laco.TestFiles;
import dev.laco.apply.PlanApplier;
import dev.laco.apply.Replay;
import dev.laco.backend.Backend;
import dev.laco.backend.MemoryArena;
import dev.laco.backend.MemoryTensor;
import dev.laco.backend.cuda.CudaBackend;
import dev.laco.backend.cuda.EmulatedDevice;
import dev.laco.backend.cuda.FreshDevice;
import dev.laco.backend.reference.ReferenceBackend;
import dev.laco.checkpoint.Checkpoint;
import dev.laco.checkpoint.WeightPool;
import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.FitRule;
import dev.laco.collapse.MergeRule;
import dev.laco.collapse.NormsPolicy;
import dev.laco.fit.CarryOver;
import dev.laco.fit.WholeText;
import dev.laco.model.HostTensor;
import dev.laco.model.NewWeights;
import dev.laco.model.TensorSource;
import dev.laco.prune.FitSettings;
import dev.laco.prune.Goal;
import dev.laco.prune.PruneJob;
import dev.laco.prune.PruneRequest;
import dev.laco.prune.TextSettings;
import dev.laco.prune.WriteSettings;
import dev.laco.report.FitReport;
import dev.laco.text.CalibrationSet;
import dev.laco.text.FitText;
import dev.laco.transformer.RunningModel;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import java.util.concurrent.CancellationException;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Weights that the emulated device fits. */
@ExtendWith(FreshDevice.class)
class CudaFitTest {
  private static final String FIXTURE = "llama_untied_gqa";

  @TempDir Path folder;

  @ParameterizedTest
  @CsvSource({
    FIXTURE + ", compensate",
    FIXTURE + ", map",
    FIXTURE + ", refine",
    FIXTURE + ", reconstruct",
    "mixtral, reconstruct",
    "gpt_oss, reconstruct",
    "qwen3_vl_moe, reconstruct"
  })
  void fitsWhatTheReferenceFits(String name, String preset) {
    FitRule rule = FitRule.named(preset);
    try (Checkpoint model = Checkpoint.open(Fixtures.model(name));
        MemoryArena memory = new MemoryArena()) {
      NewWeights expected;
      try (Backend backend = new ReferenceBackend(Compute.F32)) {
        expected = fit(backend, name, model, model, rule, memory);
      }
      NewWeights found;
      try (Backend backend = cuda(Compute.F32)) {
        found = fit(backend, name, model, model, rule, memory);
      }
      assertEquals(expected.tensors().keySet(), found.tensors().keySet());
      expected
          .tensors()
          .forEach(
              (weight, tensor) -> {
                double distance = distance(tensor, found.tensors().get(weight));
                assertTrue(distance < 2e-3, weight + ": " + distance);
              });
    }
  }

  /** Norms are trained on a text of which most is judged on. */
  @Test
  void trainsTheNormsThatTheReferenceTrains() {
    try (Checkpoint model = Checkpoint.open(Fixtures.model(FIXTURE));
        MemoryArena memory = new MemoryArena()) {
      FitText text = calibration(FIXTURE, model);
      List<FitText.Chunk> further = new ArrayList<>();
      while (FitText.tokens(further) < 1280 + 256) {
        further.addAll(text.chunks());
      }
      WholeText whole = new WholeText(text, further);
      CollapsePlan plan = plan(model);
      CarryOver.Result expected;
      try (Backend backend = new ReferenceBackend(Compute.F32)) {
        expected = fit(backend, model, plan, whole, memory);
      }
      CarryOver.Result found;
      try (Backend backend = cuda(Compute.F32)) {
        found = fit(backend, model, plan, whole, memory);
      }
      FitReport.Norms report = Objects.requireNonNull(expected.norms());
      assertTrue(report.kept(), report::toString);
      assertEquals(report.lossAfter(), Objects.requireNonNull(found.norms()).lossAfter(), 1e-3);
      assertEquals(expected.tensors().tensors().keySet(), found.tensors().tensors().keySet());
      expected
          .tensors()
          .tensors()
          .forEach(
              (weight, tensor) -> {
                double distance = distance(tensor, found.tensors().tensors().get(weight));
                assertTrue(distance < 5e-3, weight + ": " + distance);
              });
    }
  }

  private static CarryOver.Result fit(
      Backend backend, Checkpoint model, CollapsePlan plan, WholeText text, MemoryArena memory) {
    try (CarryOver carryOver =
        new CarryOver(new RunningModel(backend, model.config(), model), text)) {
      return carryOver.fit(plan, FitRule.RECONSTRUCT, 1, true, memory, (done, total) -> {});
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"fit", "refine"})
  void theSmallestPoolOfWeightsChangesNothing(String preset) {
    FitRule rule = FitRule.named(preset);
    try (Checkpoint model = Checkpoint.open(Fixtures.model(FIXTURE));
        MemoryArena memory = new MemoryArena()) {
      NewWeights whole;
      try (Backend backend = cuda(Compute.AUTO)) {
        whole = fit(backend, FIXTURE, model, model, rule, memory);
      }
      NewWeights streamed;
      try (Backend backend = cuda(Compute.AUTO)) {
        long layer = model.totalBytes() / model.config().numHiddenLayers();
        WeightPool pool =
            new WeightPool(
                model,
                model,
                layer,
                "given are ",
                name -> backend.release(List.of(model.file(name).tensor(name))));
        streamed = fit(backend, FIXTURE, model, pool, rule, memory);
      }
      whole
          .tensors()
          .forEach(
              (name, tensor) ->
                  assertEquals(
                      -1, tensor.data().mismatch(streamed.tensors().get(name).data()), name));
    }
  }

  /** No new tensor is on the host before all layers have been fitted. */
  @ParameterizedTest
  @CsvSource({"fit, FFM", "refine, FFM", "compensate, FFM", "fit, JCUDA"})
  void noLayerWaitsForTheNewTensorsOfThoseBefore(String preset, CudaBinding binding) {
    FitRule rule = FitRule.named(preset);
    try (Checkpoint model = Checkpoint.open(Fixtures.model(FIXTURE));
        MemoryArena memory = new MemoryArena()) {
      NewWeights expected;
      try (Backend backend = cuda(Compute.AUTO)) {
        expected = fit(backend, FIXTURE, model, model, rule, memory);
      }
      NewWeights found;
      try (Backend backend = CudaBackend.open(Compute.AUTO, 0, binding)) {
        EmulatedDevice.holdOtherThreads(true);
        found =
            fit(
                backend,
                FIXTURE,
                model,
                model,
                rule,
                memory,
                (done, total) -> EmulatedDevice.holdOtherThreads(done < total));
      }
      assertEquals(expected.tensors().keySet(), found.tensors().keySet());
      expected
          .tensors()
          .forEach(
              (name, tensor) ->
                  assertEquals(-1, tensor.data().mismatch(found.tensors().get(name).data()), name));
    }
  }

  /** New tensors are still on their way when the caller ends the fit. */
  @Test
  void aFitThatEndsEarlyWaitsForWhatIsBeingCopied() {
    try (Checkpoint model = Checkpoint.open(Fixtures.model(FIXTURE));
        Backend backend = cuda(Compute.AUTO);
        MemoryArena memory = new MemoryArena()) {
      AtomicReference<AtomicBoolean> waited = new AtomicReference<>();
      CarryOver.Progress end =
          (done, total) -> {
            if (done == total) {
              waited.set(EmulatedDevice.letOtherThreadsGoOnceThisOneWaits());
              throw new CancellationException();
            }
          };
      EmulatedDevice.holdOtherThreads(true);
      assertThrows(
          CancellationException.class,
          () -> fit(backend, FIXTURE, model, model, FitRule.FIT, memory, end));
      assertTrue(waited.get().get());
    }
  }

  /** All channels are zero, and so are the equations of every down projection. */
  @Test
  void whatHasNoFitIsLeftAsItIs() {
    try (Checkpoint model = Checkpoint.open(Fixtures.model(FIXTURE));
        MemoryArena memory = new MemoryArena();
        Backend backend = cuda(Compute.F32)) {
      TensorSource zeroGates =
          name -> {
            HostTensor own = model.tensor(name);
            return name.endsWith("gate_proj.weight")
                ? HostTensor.allocate(memory, name, own.dtype(), own.shape())
                : own;
          };
      assertTrue(fit(backend, FIXTURE, model, zeroGates, FitRule.FIT, memory).isEmpty());
    }
  }

  @Test
  void whatAPruneWroteIsAppliedAgain() throws Exception {
    Path out = folder.resolve("out");
    Path applied = folder.resolve("applied");
    Path calibration = Fixtures.tokens(folder, FIXTURE, "calib");
    Path model = Fixtures.model(FIXTURE);
    PruneRequest request =
        PruneRequest.of(Goal.layers(6))
            .withRule("repair")
            .withFit(new FitSettings(calibration, null))
            .withTexts(
                new TextSettings(calibration, null, Fixtures.tokens(folder, FIXTURE, "eval")));
    try (Model opened = Model.open(model);
        PruneJob job = new PruneJob(opened, DeviceSettings.of("cuda"), request)) {
      job.run().writeTo(out, WriteSettings.DEFAULT);
    }
    Replay.apply(out.resolve("laco_plan.json"), model, applied);
    TestFiles.assertSameTree(out, applied);
  }

  private static Backend cuda(Compute compute) {
    return CudaBackend.open(compute, 0, CudaBinding.FFM);
  }

  private NewWeights fit(
      Backend backend,
      String name,
      Checkpoint model,
      TensorSource weights,
      FitRule rule,
      MemoryArena memory) {
    return fit(backend, name, model, weights, rule, memory, (done, total) -> {});
  }

  /** Of a deep model two layers, of which the second gap's is fitted on changed inputs. */
  private NewWeights fit(
      Backend backend,
      String name,
      Checkpoint model,
      TensorSource weights,
      FitRule rule,
      MemoryArena memory,
      CarryOver.Progress progress) {
    FitText text = calibration(name, model);
    CollapsePlan plan = plan(model);
    try (CarryOver carryOver =
        new CarryOver(new RunningModel(backend, model.config(), weights), WholeText.of(text))) {
      return carryOver.fit(plan, rule, 1, true, memory, progress).tensors();
    }
  }

  private FitText calibration(String name, Checkpoint model) {
    return FitText.read(
        Fixtures.tokens(folder, name, "calib"),
        new CalibrationSet.Target(
            Optional.empty(),
            MissingTokenizer.OF_FOLDER,
            model.config().vocabSize(),
            model.config().maxPositionEmbeddings()));
  }

  private static CollapsePlan plan(Checkpoint model) {
    CollapsePlan plan =
        CollapsePlan.identity(PlanApplier.source(model))
            .fold(1, 1, MergeRule.DROP, NormsPolicy.BASE);
    return plan.depth() > 5 ? plan.fold(3, 2, MergeRule.DROP, NormsPolicy.BASE) : plan;
  }

  /** Of two tensors, relative to the length of the first. */
  private static double distance(HostTensor expected, HostTensor found) {
    MemoryTensor a = MemoryTensor.of(expected);
    MemoryTensor b = MemoryTensor.of(found);
    double difference = 0;
    double length = 0;
    for (long i = 0; i < expected.elements(); i++) {
      difference += Math.pow((double) a.get(i) - b.get(i), 2);
      length += Math.pow(a.get(i), 2);
    }
    return Math.sqrt(difference / length);
  }
}
