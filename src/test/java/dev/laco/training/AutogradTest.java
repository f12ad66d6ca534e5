package dev.laco.training;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;

import com.fasterxml.jackson.databind.JsonNode;
import dev.laco.Compute;
import dev.laco.Fixtures;
import dev.laco.apply.PlanApplier;
import dev.laco.backend.Backend;
import dev.laco.backend.MemoryArena;
import dev.laco.backend.Tensor;
import dev.laco.backend.cpu.CpuBackend;
import dev.laco.checkpoint.Checkpoint;
import dev.laco.collapse.CollapsePlan;
import dev.laco.model.NewWeights;
import dev.laco.text.FitText;
import dev.laco.transformer.AdamWState;
import dev.laco.transformer.PlannedLayers;
import dev.laco.transformer.RunningModel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.SortedMap;
import java.util.stream.Stream;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * Gradients by every tensor of whole models are those of PyTorch's autograd ({@code
 * interop/make_gradients.py}).
 */
class AutogradTest {
  /** Of the norm of a tensor's gradient. */
  private static final double TOLERANCE = 1e-4;

  static Stream<String> recorded() {
    return Fixtures.names()
        .filter(name -> Files.exists(Fixtures.folder(name).resolve("gradients.json")));
  }

  @ParameterizedTest
  @MethodSource("recorded")
  void gradientsAreThoseOfAutograd(String fixture) {
    JsonNode recorded = Fixtures.json(fixture, "gradients.json");
    List<FitText.Chunk> chunks = new ArrayList<>();
    for (JsonNode tokens : recorded.get("tokens")) {
      int[] ids = new int[tokens.size()];
      for (int i = 0; i < ids.length; i++) {
        ids[i] = tokens.get(i).intValue();
      }
      chunks.add(new FitText.Chunk(ids, chunks.size(), "a text"));
    }
    int tokens = chunks.stream().mapToInt(FitText.Chunk::length).sum();
    try (Backend backend = CpuBackend.open(Compute.F32, 1);
        Checkpoint checkpoint = Checkpoint.open(Fixtures.model(fixture));
        MemoryArena memory = new MemoryArena()) {
      RunningModel running = new RunningModel(backend, checkpoint.config(), checkpoint);
      CollapsePlan whole = CollapsePlan.identity(PlanApplier.source(checkpoint));
      CollapsePlan plan =
          new CollapsePlan(
              whole.source(),
              recorded
                  .get("kept")
                  .valueStream()
                  .map(i -> whole.layers().get(i.intValue()))
                  .toList());
      DistillationSettings settings =
          new DistillationSettings(
              tokens, false, tokens, 1e-9, 0, 1e30, LabelShare.NONE, 1, 7, null, AdamWState.FULL);
      NotedSteps noted = new NotedSteps();
      try (PlannedLayers layers = running.pruned(plan, NewWeights.NONE);
          Distillation training =
              new Distillation(
                  running,
                  new Student(layers.outside(), layers, recorded.get("first").intValue()),
                  new DistillationText(chunks, chunks.subList(0, 1)),
                  settings,
                  new Distillation.Place(memory, Residence.EVERYTHING, Path.of("target"), 0))) {
        training.run(tokens, settings.rate(), noted);
        double loss = recorded.get("loss").doubleValue();
        assertEquals(1, noted.steps().size());
        assertEquals(loss, noted.steps().getFirst().loss(), TOLERANCE * loss);
        SortedMap<String, Distillation.Held> state = training.state();
        assertFalse(recorded.get("tensors").isEmpty());
        recorded
            .get("tensors")
            .properties()
            .forEach(
                tensor ->
                    compare(
                        fixture + ": " + tensor.getKey(),
                        tensor.getValue(),
                        firstGradient(
                            backend,
                            Objects.requireNonNull(state.get(tensor.getKey() + "/mean")))));
      }
    }
  }

  /** The first step leaves {@code 1 - beta1} of the gradient in its running mean. */
  private static double[] firstGradient(Backend backend, Distillation.Held held) {
    Tensor mean = held.tensor().get();
    float[] values = new float[Math.toIntExact(mean.elements())];
    backend.download(mean, values);
    double[] gradient = new double[values.length];
    for (int i = 0; i < values.length; i++) {
      gradient[i] = values[i] / (1 - DistillationSettings.BETA1);
    }
    return gradient;
  }

  private static void compare(String what, JsonNode wanted, double[] gradient) {
    double norm = wanted.get("norm").doubleValue();
    double squares = 0;
    for (double value : gradient) {
      squares += value * value;
    }
    assertEquals(norm, Math.sqrt(squares), TOLERANCE * norm, what);
    JsonNode sums = wanted.get("sums");
    for (int pattern = 0; pattern < sums.size(); pattern++) {
      double sum = 0;
      for (int i = 0; i < gradient.length; i++) {
        long bit = ((i + 1) * (2654435761L + 2 * pattern)) >>> 40 & 1;
        sum += bit == 0 ? gradient[i] : -gradient[i];
      }
      assertEquals(sums.get(pattern).doubleValue(), sum, TOLERANCE * norm, what);
    }
  }
}
