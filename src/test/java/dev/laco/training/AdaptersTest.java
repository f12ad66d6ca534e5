package dev.laco.training;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.Compute;
import dev.laco.Fixtures;
import dev.laco.backend.Backend;
import dev.laco.backend.MemoryArena;
import dev.laco.backend.MemoryTensor;
import dev.laco.backend.Tensor;
import dev.laco.backend.TokenBatch;
import dev.laco.backend.cpu.CpuBackend;
import dev.laco.backend.reference.ReferenceBackend;
import dev.laco.checkpoint.Checkpoint;
import dev.laco.model.HostTensor;
import dev.laco.model.ModelConfig;
import dev.laco.model.NonFinite;
import dev.laco.model.PackedSequences;
import dev.laco.model.TensorSpec;
import dev.laco.report.TrainingStep;
import dev.laco.text.FitText;
import dev.laco.transformer.AdamWState;
import dev.laco.transformer.CausalLm;
import dev.laco.transformer.TrainedTensor;
import java.lang.foreign.Arena;
import java.lang.foreign.ValueLayout;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.SortedMap;
import java.util.function.Supplier;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * Adapters that are trained, and the weights that they give; what is kept of a training, of
 * adapters or of all tensors, and where.
 */
class AdaptersTest {
  private static final int LENGTH = 8;
  private static final int STEPS = 12;

  /** Layers in front of the gap that are trained, too. */
  private static final int IN_FRONT = 1;

  private static final Adapters HOW = new Adapters(3, 7.5);

  private static List<FitText.Chunk> chunks(long seed, int count, int vocabulary) {
    Random random = new Random(seed);
    List<FitText.Chunk> chunks = new ArrayList<>();
    for (int i = 0; i < count; i++) {
      chunks.add(new FitText.Chunk(random.ints(LENGTH, 0, vocabulary).toArray(), i, "a text"));
    }
    return chunks;
  }

  private static float[] values(Backend backend, Tensor tensor) {
    float[] values = new float[Math.toIntExact(tensor.elements())];
    backend.download(tensor, values);
    return values;
  }

  /**
   * Every family stores its projections in another way: one by one, several in one matrix, heads
   * side by side, the matrices of all experts in one tensor.
   */
  @ParameterizedTest
  @ValueSource(strings = {"llama_untied_gqa", "phi3_std", "gpt_neox", "gpt_oss", "qwen3_vl_moe"})
  void gradientsAreDerivativesOfTheLoss(String fixture) {
    try (Backend backend = new ReferenceBackend(Compute.F32);
        Checkpoint checkpoint = Checkpoint.open(Fixtures.model(fixture));
        PrunedModel pruned = PrunedModel.of(backend, checkpoint);
        TrainedLayers layers =
            TrainedLayers.of(
                pruned.student(IN_FRONT),
                settings(Kind.ADAPTERS),
                Residence.EVERYTHING,
                Path.of("target"),
                0);
        Passes passes =
            new Passes(
                pruned.running().original(),
                new CausalLm(pruned.layers().outside(), layers),
                layers,
                pruned.student(IN_FRONT).first(),
                LENGTH);
        TokenBatch batch =
            passes.batch(
                PackedSequences.of(
                    List.of(chunks(3, 1, checkpoint.config().vocabSize()).getFirst().ids())))) {
      Random random = new Random(5);
      Map<TrainedTensor, float[]> directions = new HashMap<>();
      List<TrainedTensor> all = new ArrayList<>();
      layers.forEach(TrainedLayers.Use.EVERYTHING, all::add);
      for (TrainedTensor tensor : all) {
        float[] start = values(backend, tensor.weight());
        float[] direction = new float[start.length];
        for (int i = 0; i < start.length; i++) {
          // B begins with zeros, by which the gradient of A would be zero, too.
          start[i] += 0.1f * (float) random.nextGaussian();
          direction[i] = 0.1f * (float) random.nextGaussian();
        }
        tensor.restart(backend, start);
        directions.put(tensor, direction);
      }
      layers.changed();
      passes.teach(batch, passes.shared(LENGTH), passes.reference(LENGTH));
      passes.train(batch, 0.25, 1);
      double expected = 0;
      for (TrainedTensor tensor : all) {
        float[] gradient = values(backend, tensor.gradient());
        float[] direction = directions.get(tensor);
        for (int i = 0; i < gradient.length; i++) {
          expected += (double) gradient[i] * direction[i];
        }
      }
      double step = 1e-3;
      double up = loss(backend, layers, passes, batch, directions, step);
      double down = loss(backend, layers, passes, batch, directions, -2 * step);
      double found = (up - down) / (2 * step);
      assertEquals(expected, found, 5e-3 * Math.abs(expected), fixture);
      assertTrue(Math.abs(expected) > 1e-3, () -> fixture + ": the directions tell nothing");
    }
  }

  /** The loss once all adapters have moved along their directions. */
  private static double loss(
      Backend backend,
      TrainedLayers layers,
      Passes passes,
      TokenBatch batch,
      Map<TrainedTensor, float[]> directions,
      double step) {
    directions.forEach(
        (tensor, direction) -> {
          float[] moved = values(backend, tensor.weight());
          for (int i = 0; i < moved.length; i++) {
            moved[i] += (float) (step * direction[i]);
          }
          tensor.restart(backend, moved);
        });
    layers.changed();
    passes.teach(batch, passes.shared(LENGTH), passes.reference(LENGTH));
    return passes.train(batch, 0.25, 1);
  }

  /** Measures on what is learnt, so that steps make the model better. */
  private static DistillationText text(ModelConfig config) {
    List<FitText.Chunk> chunks = chunks(1, 8, config.vocabSize());
    return new DistillationText(chunks, chunks.subList(0, 2));
  }

  /** What is trained, and what AdamW holds of it. */
  private enum Kind {
    ADAPTERS(AdamWState.FULL),
    TENSORS(AdamWState.FULL),
    TENSORS_8BIT(new AdamWState(true, true)),
    TENSORS_WITHOUT_MASTERS(new AdamWState(false, false)),
    TENSORS_8BIT_WITHOUT_MASTERS(new AdamWState(true, false));

    private final AdamWState held;

    Kind(AdamWState held) {
      this.held = held;
    }

    boolean adapters() {
      return this == ADAPTERS;
    }
  }

  private static DistillationSettings settings(Kind kind) {
    return new DistillationSettings(
        4 * LENGTH,
        false,
        2 * LENGTH,
        kind.adapters() ? 1e-2 : 1e-3,
        0,
        1,
        LabelShare.NONE,
        3,
        7,
        kind.adapters() ? HOW : null,
        kind.held);
  }

  /** Notes the steps, and what a training is kept by in the middle. */
  private static final class Noting extends NotedSteps {
    final Map<String, HostTensor> kept = new HashMap<>();
    private final Distillation training;
    private final Arena memory;
    Distillation.Reached reached;

    Noting(Distillation training, Arena memory) {
      this.training = training;
      this.memory = memory;
    }

    @Override
    public void reached(Supplier<Distillation.Reached> supplier) {
      Distillation.Reached now = supplier.get();
      if (now.steps().size() == STEPS / 2) {
        reached = now;
        training
            .state()
            .forEach(
                (name, held) -> {
                  Tensor tensor = held.tensor().get();
                  List<Long> shape = List.of(tensor.rows(), tensor.columns());
                  HostTensor copy = HostTensor.allocate(memory, name, tensor.dtype(), shape);
                  training.backend().download(tensor, copy);
                  kept.put(name, copy);
                });
        training
            .best()
            .forEach(
                (name, best) -> {
                  HostTensor copy = HostTensor.allocate(memory, name, best.dtype(), best.shape());
                  copy.data().copyFrom(best.data());
                  kept.put(name, copy);
                });
      }
    }
  }

  /** The training that was kept has less in memory than the one that goes on with it. */
  @ParameterizedTest
  @CsvSource({
    "llama_untied_gqa, ADAPTERS, EVERYTHING",
    "llama_tied_rope3, ADAPTERS, ONE_LAYER",
    "llama_tied_rope3, TENSORS, EVERYTHING",
    "llama_tied_rope3, TENSORS, PARAMETERS",
    "llama_tied_rope3, TENSORS, GRADIENTS",
    "llama_tied_rope3, TENSORS, WEIGHTS",
    "llama_tied_rope3, TENSORS, ONE_LAYER",
    "llama_tied_rope3, TENSORS_8BIT, EVERYTHING",
    "llama_tied_rope3, TENSORS_WITHOUT_MASTERS, GRADIENTS",
    "llama_tied_rope3, TENSORS_8BIT_WITHOUT_MASTERS, ONE_LAYER",
    "gemma3_std, TENSORS, PARAMETERS",
    "gpt_neox, TENSORS, PARAMETERS",
    "mixtral, TENSORS, PARAMETERS",
    "qwen3_moe, TENSORS_8BIT, ONE_LAYER",
    "phi3_std, ADAPTERS, EVERYTHING",
    "mixtral, ADAPTERS, EVERYTHING",
    "gpt_oss, ADAPTERS, ONE_LAYER"
  })
  void aTrainingThatWasKeptGoesOnToTheSameWeights(String fixture, Kind kind, Residence residence) {
    try (Backend backend = CpuBackend.open(Compute.F32, 1);
        Checkpoint checkpoint = Checkpoint.open(Fixtures.model(fixture));
        PrunedModel pruned = PrunedModel.of(backend, checkpoint);
        Arena copies = Arena.ofConfined();
        MemoryArena memory = new MemoryArena();
        MemoryArena others = new MemoryArena()) {
      DistillationSettings how = settings(kind);
      DistillationText text = text(checkpoint.config());
      long tokens = (long) STEPS * how.stepTokens();
      Distillation.Result whole;
      Noting noting;
      try (Distillation training =
          new Distillation(
              pruned.running(),
              pruned.student(IN_FRONT),
              text,
              how,
              new Distillation.Place(memory, residence, Path.of("target"), 0))) {
        // The search for a rate leaves nothing behind.
        training.findRate(tokens, () -> {});
        noting = new Noting(training, copies);
        whole = training.run(tokens, how.rate(), noting);
      }
      double loss = noting.steps().getFirst().loss();
      assertTrue(noting.steps().getLast().loss() < 0.8 * loss, noting.steps()::toString);
      assertFalse(whole.weights().isEmpty(), fixture);
      try (Distillation training =
          new Distillation(
              pruned.running(),
              pruned.student(IN_FRONT),
              text,
              how,
              new Distillation.Place(others, Residence.EVERYTHING, Path.of("target"), 0))) {
        Noting after = new Noting(training, copies);
        training.restore(noting.reached, noting.kept::get, after);
        Distillation.Result rest = training.resume(noting.reached, tokens, how.rate(), after);
        assertEquals(whole.reached(), rest.reached());
        assertEquals(whole.weights().tensors().keySet(), rest.weights().tensors().keySet());
        whole
            .weights()
            .tensors()
            .forEach(
                (name, tensor) ->
                    assertEquals(
                        -1, tensor.data().mismatch(rest.weights().find(name).data()), name));
      }
      if (kind.adapters()) {
        theWeightsAreThoseBeforeWithTheAdapters(pruned, whole);
      } else {
        assertTrue(whole.adapters().isEmpty());
      }
    }
  }

  /** Gradients are no numbers any more, weights too large, and then what they were. */
  @ParameterizedTest
  @EnumSource
  void aSearchForARateThatGoesWrongLeavesNothingBehind(Kind kind) {
    try (Backend backend = CpuBackend.open(Compute.F32, 1);
        Checkpoint checkpoint = Checkpoint.open(Fixtures.model("llama_untied_gqa"));
        PrunedModel pruned = PrunedModel.of(backend, checkpoint);
        Arena copies = Arena.ofConfined();
        MemoryArena memory = new MemoryArena()) {
      DistillationSettings how = settings(kind);
      DistillationSettings wrong =
          new DistillationSettings(
              how.stepTokens(),
              how.byLength(),
              how.batchTokens(),
              1e38,
              how.decay(),
              how.clip(),
              how.labels(),
              how.measurements(),
              how.seed(),
              how.adapters(),
              how.held());
      long tokens = (long) STEPS * how.stepTokens();
      List<List<TrainingStep>> steps = new ArrayList<>();
      for (DistillationSettings settings : List.of(how, wrong)) {
        try (Distillation training =
            new Distillation(
                pruned.running(),
                pruned.student(IN_FRONT),
                text(checkpoint.config()),
                settings,
                new Distillation.Place(memory, Residence.EVERYTHING, Path.of("target"), 0))) {
          if (settings.equals(wrong)) {
            // Four steps at each rate: the gradients of the last are those of weights that are
            // none.
            training.findRate(16 * tokens, () -> {});
          }
          Noting noting = new Noting(training, copies);
          training.run(tokens, how.rate(), noting);
          steps.add(noting.steps());
        }
      }
      assertEquals(steps.getFirst(), steps.getLast());
    }
  }

  /** The weights stay numbers, since no step is taken by gradients that are none. */
  @ParameterizedTest
  @EnumSource
  void aTrainingThatGoesWrongEndsWithTheBestWeights(Kind kind) {
    try (Backend backend = CpuBackend.open(Compute.F32, 1);
        Checkpoint checkpoint = Checkpoint.open(Fixtures.model("llama_untied_gqa"));
        PrunedModel pruned = PrunedModel.of(backend, checkpoint);
        MemoryArena memory = new MemoryArena();
        Distillation training =
            new Distillation(
                pruned.running(),
                pruned.student(IN_FRONT),
                text(checkpoint.config()),
                settings(kind),
                new Distillation.Place(memory, Residence.EVERYTHING, Path.of("target"), 0))) {
      List<Integer> diverged = new ArrayList<>();
      NotedSteps noted =
          new NotedSteps() {
            @Override
            public void diverged(int step) {
              diverged.add(step);
              assertStateIsFinite(training);
            }
          };
      Distillation.Result result =
          training.run((long) STEPS * settings(kind).stepTokens(), 1e30, noted);
      Distillation.Reached reached = result.reached();
      assertEquals(List.of(reached.steps().size() + 1), diverged);
      assertTrue(reached.steps().stream().allMatch(step -> Double.isFinite(step.gradientNorm())));
      assertEquals(noted.steps(), reached.steps());
      assertFalse(Double.isFinite(reached.measurements().getLast().divergence()));
      assertEquals(reached.measurements().getFirst(), reached.best());
      assertTrue(training.best().isEmpty() || kind.adapters());
      result
          .weights()
          .tensors()
          .forEach(
              (name, tensor) ->
                  assertEquals(-1, NonFinite.first(tensor.dtype(), tensor.data()), name));
    }
  }

  private static void assertStateIsFinite(Distillation training) {
    training
        .state()
        .forEach(
            (name, held) -> {
              // Running means in 8 bits are no numbers of f32.
              if (!name.endsWith("/moments")) {
                for (float value : values(training.backend(), held.tensor().get())) {
                  assertTrue(Float.isFinite(value), name);
                }
              }
            });
  }

  /** Adds the products of the adapters by hand. */
  private static void theWeightsAreThoseBeforeWithTheAdapters(
      PrunedModel pruned, Distillation.Result result) {
    ModelConfig config = pruned.running().config();
    SortedMap<String, HostTensor> adapters = result.adapters();
    int found = 0;
    for (int index = pruned.student(IN_FRONT).first(); index < pruned.plan().depth(); index++) {
      for (Map.Entry<TensorSpec, Tensor> start :
          pruned.layers().tensors(index, Integer.MAX_VALUE).entrySet()) {
        String name = config.architecture().tensorName(index, start.getKey());
        HostTensor after = result.weights().find(name);
        assertNotNull(after, name);
        MemoryTensor before = MemoryTensor.of(start.getValue());
        String projection = name.replaceAll("\\.weight$", "");
        HostTensor a = adapters.get(projection + ".lora_A.weight");
        HostTensor b = adapters.get(projection + ".lora_B.weight");
        int columns = Math.toIntExact(before.columns());
        for (int row = 0; row < before.rows(); row++) {
          float[] expected = before.row(row);
          double tolerance = before.dtype().byteSize() == 4 ? 1e-6 : 1e-2;
          if (a == null) {
            tolerance = 0;
          } else {
            int matrices = Math.toIntExact(a.rows() / HOW.rank());
            int matrix = Math.toIntExact(row / (before.rows() / matrices));
            for (int k = 0; k < HOW.rank(); k++) {
              double factor = HOW.alpha() / HOW.rank() * at(b, row, k);
              for (int i = 0; i < columns; i++) {
                expected[i] += (float) (factor * at(a, matrix * HOW.rank() + k, i));
              }
            }
          }
          float[] values =
              new MemoryTensor(before.dtype(), before.rows(), columns, after.data()).row(row);
          float scale = 1;
          for (float value : expected) {
            scale = Math.max(scale, Math.abs(value));
          }
          assertArrayEquals(expected, values, (float) (tolerance * scale), name);
        }
        found += a == null ? 0 : 1;
      }
    }
    assertEquals(adapters.size(), 2 * found);
  }

  private static float at(HostTensor tensor, long row, long column) {
    return tensor
        .data()
        .get(ValueLayout.JAVA_FLOAT_UNALIGNED, Float.BYTES * (row * tensor.columns() + column));
  }
}
