package dev.laco.training;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.Compute;
import dev.laco.Fixtures;
import dev.laco.apply.PlanApplier;
import dev.laco.backend.Backend;
import dev.laco.backend.MemoryArena;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.backend.TokenBatch;
import dev.laco.backend.cpu.CpuBackend;
import dev.laco.checkpoint.Checkpoint;
import dev.laco.collapse.CollapsePlan;
import dev.laco.model.DType;
import dev.laco.model.NewWeights;
import dev.laco.model.PackedSequences;
import dev.laco.report.RateTrial;
import dev.laco.report.TrainingMeasurement;
import dev.laco.report.TrainingStep;
import dev.laco.text.FitText;
import dev.laco.transformer.AdamWState;
import dev.laco.transformer.CausalLm;
import dev.laco.transformer.NextTokens;
import dev.laco.transformer.PlannedLayers;
import dev.laco.transformer.RunningModel;
import dev.laco.transformer.Workspace;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.Random;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.MethodSource;

/** A pruned model that is trained comes closer to the original. */
class DistillationTest {
  private static final int LENGTH = 8;

  @ParameterizedTest
  @MethodSource("dev.laco.Fixtures#names")
  void lossFalls(String fixture) {
    try (Backend backend = CpuBackend.open(Compute.F32, 1);
        Checkpoint checkpoint = Checkpoint.open(Fixtures.model(fixture));
        PrunedModel pruned = PrunedModel.of(backend, checkpoint);
        MemoryArena memory = new MemoryArena()) {
      DistillationText text =
          new DistillationText(
              chunks(1, 8, checkpoint.config().vocabSize()),
              chunks(2, 2, checkpoint.config().vocabSize()));
      DistillationSettings settings =
          new DistillationSettings(
              4 * LENGTH,
              false,
              2 * LENGTH,
              3e-3,
              0,
              1,
              LabelShare.NONE,
              2,
              7,
              null,
              AdamWState.FULL);
      NotedSteps noted = new NotedSteps();
      try (Distillation training = training(pruned, text, settings, memory)) {
        // Measuring the pace changes nothing.
        assertTrue(training.pace(true).token() > 0);
        // Nor does the search for a rate.
        Distillation.FoundRate found = training.findRate(12 * 4 * LENGTH, () -> {});
        // The test ends where half of a fall is lost; a training's mean rate is half of its peak.
        List<RateTrial> trials = found.trials();
        double start = trials.getFirst().loss();
        double lowest = start;
        for (RateTrial trial : trials.subList(1, trials.size())) {
          lowest = Math.min(lowest, trial.loss());
          boolean goesOn = lowest == start || trial.loss() <= (start + lowest) / 2;
          assertTrue(goesOn || trial.equals(trials.getLast()), trials::toString);
        }
        assertTrue(lowest < start || trials.size() == 4, trials::toString);
        // A short training, too, has two steps at each rate, but fewer rates.
        assertTrue(trials.stream().skip(1).allMatch(trial -> trial.steps() == 2), trials::toString);
        assertEquals(RangeTest.of(12 * 4 * LENGTH, settings).suitable(trials), found.rate());
        Distillation.Result result = training.run(12 * 4 * LENGTH, settings.rate(), noted);
        List<TrainingStep> steps = noted.steps();
        assertEquals(12, steps.size());
        // The text is met six times: the model learns it by heart.
        double first = steps.getFirst().loss();
        assertTrue(steps.getLast().loss() < 0.6 * first, () -> fixture + ": " + steps);
        TrainingMeasurement before = result.reached().measurements().getFirst();
        TrainingMeasurement best = result.reached().best();
        assertEquals(found.trials().getFirst().loss(), before.divergence(), fixture);
        assertEquals(2, result.reached().measurements().size());
        assertEquals(steps, result.reached().steps());
        assertTrue(best.divergence() <= before.divergence());
        assertEquals(best.equals(before), result.weights().isEmpty());
        pruned.layers().use(pruned.plan(), result.weights());
        assertEquals(best.divergence(), divergence(pruned, text), 1e-5, fixture);
        Distillation.Result early =
            training.run(
                12 * 4 * LENGTH,
                settings.rate(),
                new NotedSteps() {
                  @Override
                  public boolean timeIsUp() {
                    return steps().size() == 4;
                  }
                });
        assertEquals(4, early.reached().steps().size());
        assertEquals(4, early.reached().measurements().getLast().step());
      }
    }
  }

  /** Next tokens of a text are learnt in the first passes over it. */
  @Test
  void aShareOfLabelsIsOfTheFirstPasses() {
    try (Backend backend = CpuBackend.open(Compute.F32, 1);
        Checkpoint checkpoint = Checkpoint.open(Fixtures.model("llama_untied_gqa"));
        PrunedModel pruned = PrunedModel.of(backend, checkpoint);
        MemoryArena memory = new MemoryArena()) {
      int chunks = 8;
      DistillationText text =
          new DistillationText(
              chunks(1, chunks, checkpoint.config().vocabSize()),
              chunks(2, 2, checkpoint.config().vocabSize()));
      // Steps of this rate change nothing.
      double divergence = losses(pruned, memory, text, LabelShare.NONE, 1).getFirst();
      double nll = losses(pruned, memory, text, new LabelShare(1, 1), 1).getFirst();
      LabelShare labels = new LabelShare(0.25, 2);
      List<Double> passes = losses(pruned, memory, text, labels, 3);
      assertEquals(0.75 * divergence + 0.25 * nll, passes.get(0), 1e-5);
      assertEquals(passes.get(0), passes.get(1), 1e-5);
      assertEquals(divergence, passes.get(2), 1e-5);
      assertTrue(nll > 1.1 * divergence);
      assertEquals(2, labels.ended(3));
      assertNull(labels.ended(2));
    }
  }

  /** The mean loss of each pass over a text, by a rate that changes nothing. */
  private static List<Double> losses(
      PrunedModel pruned,
      MemoryArena memory,
      DistillationText text,
      LabelShare labels,
      int passes) {
    int each = 2;
    DistillationSettings settings =
        new DistillationSettings(
            (int) text.tokens() / each,
            false,
            LENGTH,
            1e-30,
            0,
            1,
            labels,
            2,
            7,
            null,
            AdamWState.FULL);
    try (Distillation training = training(pruned, text, settings, memory)) {
      List<TrainingStep> steps =
          training.run(passes * text.tokens(), settings.rate(), new NotedSteps()).reached().steps();
      assertEquals(passes * each, steps.size());
      return IntStream.range(0, passes)
          .mapToObj(pass -> steps.subList(pass * each, (pass + 1) * each))
          .map(of -> of.stream().mapToDouble(TrainingStep::loss).average().orElseThrow())
          .toList();
    }
  }

  private static Distillation training(
      PrunedModel pruned,
      DistillationText text,
      DistillationSettings settings,
      MemoryArena memory) {
    return new Distillation(
        pruned.running(),
        pruned.student(0),
        text,
        settings,
        new Distillation.Place(memory, Residence.EVERYTHING, Path.of("target"), 0));
  }

  /** What a training lowers decides which of its weights are kept. */
  @Test
  void theBestWeightsAreThoseOfTheSmallestLoss() {
    try (Backend backend = CpuBackend.open(Compute.F32, 1);
        Checkpoint checkpoint = Checkpoint.open(Fixtures.model("llama_untied_gqa"));
        PrunedModel pruned = PrunedModel.of(backend, checkpoint);
        MemoryArena memory = new MemoryArena()) {
      // Of one token alone: to say it with certainty is not what the original does.
      List<FitText.Chunk> chunks =
          IntStream.range(0, 16)
              .mapToObj(i -> new FitText.Chunk(new int[LENGTH], i, "a text"))
              .toList();
      DistillationText text = new DistillationText(chunks, chunks.subList(0, 2));
      for (double share : new double[] {0, 1}) {
        DistillationSettings settings =
            new DistillationSettings(
                LENGTH,
                false,
                LENGTH,
                1e-2,
                0,
                1,
                LabelShare.of(share),
                4,
                7,
                null,
                AdamWState.FULL);
        try (Distillation training = training(pruned, text, settings, memory)) {
          Distillation.Reached reached =
              training.run(text.tokens(), settings.rate(), new NotedSteps()).reached();
          TrainingMeasurement best =
              reached.measurements().stream()
                  .min(Comparator.comparing(m -> share == 0 ? m.divergence() : m.nll()))
                  .orElseThrow();
          assertEquals(best, reached.best(), () -> "share " + share);
          // The two losses do not agree, else this says nothing.
          assertEquals(
              share == 1, best.divergence() > reached.measurements().getFirst().divergence());
        }
      }
    }
  }

  /** The estimate of the time rests on these bytes; the kernel counts what was read and written. */
  @ParameterizedTest
  @EnumSource(names = {"GRADIENTS", "WEIGHTS", "ONE_LAYER"})
  void aTrainingMovesTheBytesThatItsEstimateCounts(Residence residence) throws IOException {
    try (Backend backend = CpuBackend.open(Compute.F32, 1);
        Checkpoint checkpoint = Checkpoint.open(Fixtures.model("llama_untied_gqa"));
        MemoryArena memory = new MemoryArena()) {
      RunningModel running = new RunningModel(backend, checkpoint.config(), checkpoint);
      int vocabulary = checkpoint.config().vocabSize();
      DistillationText text =
          new DistillationText(chunks(1, 40, vocabulary), chunks(2, 16, vocabulary));
      DistillationSettings settings =
          new DistillationSettings(
              4 * LENGTH,
              false,
              2 * LENGTH,
              1e-9,
              0,
              1,
              LabelShare.NONE,
              4,
              7,
              null,
              AdamWState.FULL);
      CollapsePlan whole = CollapsePlan.identity(PlanApplier.source(checkpoint));
      Path folder = Path.of("target");
      long tokens = 40 * LENGTH;
      try (PlannedLayers layers = running.pruned(whole, NewWeights.NONE);
          Distillation training =
              new Distillation(
                  running,
                  new Student(layers.outside(), layers, 0),
                  text,
                  settings,
                  new Distillation.Place(memory, residence, folder, 0))) {
        long before = moved();
        training.run(tokens, settings.rate(), new NotedSteps());
        long moved = moved() - before;
        long parameters = training.parameters() - checkpoint.config().hiddenSize();
        double expected =
            Distillation.swapTraffic(
                text, settings, parameters, parameters * Float.BYTES, tokens, residence);
        assertEquals(1, moved / expected, 0.2, moved + " of " + expected);
        assertTrue(
            Distillation.swapSeconds(
                    text, settings, parameters, parameters * Float.BYTES, tokens, residence, folder)
                > 0);
      }
    }
  }

  /** Bytes that this process has read from files and written to them. */
  private static long moved() throws IOException {
    long bytes = 0;
    for (String line : Files.readAllLines(Path.of("/proc/self/io"))) {
      if (line.startsWith("rchar:") || line.startsWith("wchar:")) {
        bytes += Long.parseLong(line.substring("rchar:".length()).strip());
      }
    }
    return bytes;
  }

  /** The divergence of the model with these layers, by another way than the training's. */
  private static double divergence(PrunedModel model, DistillationText text) {
    RunningModel original = model.running();
    CausalLm dense = original.original();
    CausalLm pruned = model.layers().model();
    PackedSequences sequences =
        PackedSequences.of(text.heldOut().stream().map(FitText.Chunk::ids).toList());
    int tokens = sequences.size();
    Backend backend = original.backend();
    try (TensorArena arena = backend.arena();
        Workspace work = new Workspace(backend, original.config(), tokens);
        TokenBatch batch = dense.batch(sequences)) {
      Tensor reference = arena.allocate(DType.F32, tokens, original.config().hiddenSize());
      Tensor hidden = arena.allocate(DType.F32, tokens, original.config().hiddenSize());
      dense.run(batch, reference, work);
      pruned.run(batch, hidden, work);
      return Arrays.stream(NextTokens.kl(pruned, reference, hidden, batch)).average().orElseThrow();
    }
  }

  private static List<FitText.Chunk> chunks(long seed, int count, int vocabulary) {
    Random random = new Random(seed);
    List<FitText.Chunk> chunks = new ArrayList<>();
    for (int i = 0; i < count; i++) {
      chunks.add(new FitText.Chunk(random.ints(LENGTH, 0, vocabulary).toArray(), i, "a text"));
    }
    return chunks;
  }
}
