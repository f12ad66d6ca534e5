package dev.laco.fit;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.Compute;
import dev.laco.Fixtures;
import dev.laco.apply.PlanApplier;
import dev.laco.backend.Backend;
import dev.laco.backend.MemoryArena;
import dev.laco.backend.cpu.CpuBackend;
import dev.laco.checkpoint.Checkpoint;
import dev.laco.collapse.CollapsePlan;
import dev.laco.collapse.FitRule;
import dev.laco.collapse.MergeRule;
import dev.laco.collapse.NormsPolicy;
import dev.laco.measure.FidelityMeasure;
import dev.laco.model.NewWeights;
import dev.laco.model.TensorSpec;
import dev.laco.report.FitReport;
import dev.laco.text.FitText;
import dev.laco.text.TextChunks;
import dev.laco.transformer.PlannedLayers;
import dev.laco.transformer.RunningModel;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.List;
import java.util.TreeSet;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Layers that are trained to give the original's hidden states. */
class ReconstructionTest {
  private static final int GAP = 1;

  /** For SmolLM2-135M these are the best of the rates that were tried, or as good as any. */
  @Test
  void theRateGrowsAsTheCubeRootOfTokensForEachParameter() {
    double smollm2 = 3_540_096;
    assertEquals(0.03, Reconstruction.rate(2 * 16_384 / smollm2), 0.002);
    assertEquals(0.04, Reconstruction.rate(2 * 32_768 / smollm2), 0.002);
    assertEquals(0.05, Reconstruction.rate(131_072 / smollm2), 0.002);
    double storyteller = 393_600;
    assertEquals(0.077, Reconstruction.rate(2 * 26_719 / storyteller), 0.002);
  }

  @Test
  void theRateHasABoundWhereThereIsMuchText() {
    assertEquals(0.1, Reconstruction.rate(1));
    assertEquals(0.1, Reconstruction.rate(1e6));
  }

  /** Also where no rule holds that solves for weights. */
  @ParameterizedTest
  @MethodSource("dev.laco.Fixtures#names")
  void everyFamilyComesCloserToTheOriginal(String name) {
    try (Backend backend = CpuBackend.open(Compute.F32, 0);
        Checkpoint model = Checkpoint.open(Fixtures.model(name));
        MemoryArena memory = new MemoryArena()) {
      RunningModel running = new RunningModel(backend, model.config(), model);
      CollapsePlan plan = dropped(model);
      CarryOver.Result result = fit(running, name, plan, memory);
      List<FitReport.Fitted> fitted = result.fitted();
      int end = GAP + fitted.size();
      assertEquals(
          IntStream.range(GAP, end).boxed().toList(),
          fitted.stream().map(FitReport.Fitted::layer).toList());
      fitted.forEach(layer -> assertTrue(layer.error() <= 1, layer::toString));
      // The fit ends with the first layer that gains little.
      fitted.stream()
          .limit(fitted.size() - 1L)
          .forEach(layer -> assertTrue(layer.error() <= 0.97, layer::toString));
      assertTrue(end == plan.depth() || fitted.getLast().error() > 0.97, fitted::toString);
      assertTrue(result.fitted().getFirst().error() < 1, result.fitted()::toString);
      double before = divergence(running, name, plan, NewWeights.NONE);
      double after = divergence(running, name, plan, result.tensors());
      assertTrue(after < before, before + " → " + after);
    }
  }

  @Test
  void allTensorsOfALayerMoveAndTheResultIsAlwaysTheSame() {
    String name = "qwen2_bias";
    try (Backend backend = CpuBackend.open(Compute.F32, 0);
        Checkpoint model = Checkpoint.open(Fixtures.model(name));
        MemoryArena memory = new MemoryArena()) {
      RunningModel running = new RunningModel(backend, model.config(), model);
      CollapsePlan plan = dropped(model);
      NewWeights tensors = fit(running, name, plan, memory).tensors();
      TreeSet<String> expected = new TreeSet<>();
      for (TensorSpec spec : model.config().architecture().layerTensors(model.config(), GAP)) {
        expected.add(model.config().architecture().tensorName(GAP, spec));
      }
      TreeSet<String> found = new TreeSet<>(tensors.tensors().keySet());
      found.removeIf(tensor -> !expected.contains(tensor));
      assertEquals(expected, found);
      for (String tensor : expected) {
        assertTrue(
            tensors.tensors().get(tensor).data().mismatch(model.tensor(tensor).data()) >= 0,
            tensor);
      }
      NewWeights again = fit(running, name, plan, memory).tensors();
      tensors
          .tensors()
          .forEach(
              (tensor, values) ->
                  assertArrayEquals(
                      values.data().toArray(ValueLayout.JAVA_BYTE),
                      again.tensors().get(tensor).data().toArray(ValueLayout.JAVA_BYTE),
                      tensor));
    }
  }

  private static CollapsePlan dropped(Checkpoint model) {
    return CollapsePlan.identity(PlanApplier.source(model))
        .fold(GAP, 1, MergeRule.DROP, NormsPolicy.BASE);
  }

  private static CarryOver.Result fit(
      RunningModel running, String name, CollapsePlan plan, MemoryArena memory) {
    try (CarryOver carryOver =
        new CarryOver(running, WholeText.of(new FitText(name, chunks(name))))) {
      return carryOver.fit(plan, FitRule.RECONSTRUCT, 1, true, memory, (_, _) -> {});
    }
  }

  private static double divergence(
      RunningModel running, String name, CollapsePlan plan, NewWeights tensors) {
    try (PlannedLayers layers = running.pruned(plan, tensors)) {
      List<TextChunks.Chunk> text =
          TextChunks.whole(chunks(name).stream().map(FitText.Chunk::ids).toList());
      try (FidelityMeasure measure = new FidelityMeasure(running.original(), text, false)) {
        return measure.measure(layers.model(), (_, _) -> {}).pruned().divergence();
      }
    }
  }

  private static List<FitText.Chunk> chunks(String name) {
    List<FitText.Chunk> chunks = new ArrayList<>();
    for (int[] ids : Fixtures.tokens(name, "calib")) {
      chunks.add(new FitText.Chunk(ids, chunks.size(), "a text"));
    }
    return chunks;
  }
}
