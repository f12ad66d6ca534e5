package dev.laco.fit;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.Compute;
import dev.laco.Fixtures;
import dev.laco.Model;
import dev.laco.backend.Backend;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.backend.cpu.CpuBackend;
import dev.laco.collapse.BlockSettings.Block;
import dev.laco.model.DType;
import dev.laco.run.JobTexts;
import dev.laco.transformer.CausalLm;
import dev.laco.transformer.CheckpointLayers;
import dev.laco.transformer.NextTokens;
import dev.laco.transformer.RunningModel;
import dev.laco.transformer.Workspace;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.function.DoubleSupplier;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** How far predictions move, by the gradients of a text's likelihood. */
class PredictionGradientsTest {
  /** Change of hidden states, relative to their root mean square. */
  private static final double SMALL = 0.05;

  /** Random changes of hidden states in front of a layer of the demo model. */
  @ParameterizedTest
  @ValueSource(ints = {1, 10})
  void tellTheDivergenceThatASmallChangeCauses(int layer) {
    try (Model model = Model.open(Fixtures.STORYTELLER);
        Backend backend = CpuBackend.open(Compute.F32, 0);
        TensorArena arena = backend.arena()) {
      RunningModel running = new RunningModel(backend, model.config(), model.checkpoint());
      CausalLm original = running.original();
      CheckpointLayers layers = new CheckpointLayers(running);
      try (FitBlocks blocks =
              new FitBlocks(
                  original,
                  List.of(),
                  JobTexts.fit(JobTexts.fitSource(model, null), model, 2048).chunks());
          PredictionGradients gradients =
              new PredictionGradients(original, layers, blocks.list())) {
        gradients.compute(layer);
        Tensor change = arena.allocate(DType.F32, blocks.tokens(), model.config().hiddenSize());
        double caused = causedBy(change, layer, original, blocks, arena);
        double told =
            blocks.tokens()
                * gradients
                    .divergence(new Block(layer - 1, layer), change, change, 0)
                    .getAsDouble();
        assertEquals(1, told / caused, 0.25);
      }
    }
  }

  /** The sizes of hidden states by which tokens weigh, from either way to measure divergences. */
  @Test
  void runsTellTheSameSizesOfStates() {
    try (Model model = Model.open(Fixtures.STORYTELLER);
        Backend backend = CpuBackend.open(Compute.F32, 0)) {
      RunningModel running = new RunningModel(backend, model.config(), model.checkpoint());
      CausalLm original = running.original();
      CheckpointLayers layers = new CheckpointLayers(running);
      try (FitBlocks blocks =
              new FitBlocks(
                  original,
                  List.of(),
                  JobTexts.fit(JobTexts.fitSource(model, null), model, 512).chunks());
          Predictions gradients = new PredictionGradients(original, layers, blocks.list());
          Predictions runs = new PredictionRuns(original, blocks.list())) {
        gradients.compute(original.depth());
        runs.compute(original.depth());
        for (int layer = 0; layer <= original.depth(); layer++) {
          assertEquals(runs.scale(layer), gradients.scale(layer), 1e-4 * runs.scale(layer));
        }
        // States grow.
        assertTrue(runs.scale(original.depth()) < runs.scale(0) / 2);
      }
    }
  }

  /**
   * Changes in front of more layers than runs are measured together, in several blocks of tokens.
   */
  @Test
  void runsTellTheDivergenceThatAChangeCauses() {
    try (Model model = Model.open(Fixtures.STORYTELLER);
        Backend backend = CpuBackend.open(Compute.F32, 0);
        TensorArena arena = backend.arena()) {
      RunningModel running = new RunningModel(backend, model.config(), model.checkpoint());
      CausalLm original = running.original();
      try (FitBlocks blocks =
              new FitBlocks(
                  original,
                  List.of(),
                  JobTexts.fit(JobTexts.fitSource(model, null), model, 700).chunks());
          Workspace work = new Workspace(backend, original.config(), blocks.largest());
          PredictionRuns runs = new PredictionRuns(original, blocks.steps())) {
        assertTrue(blocks.steps().size() > 1);
        runs.compute(1);
        List<Double> caused = new ArrayList<>();
        List<DoubleSupplier> told = new ArrayList<>();
        int width = model.config().hiddenSize();
        Tensor states = arena.allocate(DType.F32, blocks.tokens(), width);
        Tensor change = arena.allocate(DType.F32, blocks.tokens(), width);
        blocks.steps().forEach(block -> original.embed(block.batch(), block.rows(states)));
        for (int layer = 1; layer <= PredictionRuns.TOGETHER + 2; layer++) {
          for (FitBlocks.Block block : blocks.steps()) {
            original.layer(layer - 1, block.rows(states), block.batch(), work, null);
          }
          caused.add(causedBy(change, layer, original, blocks, arena));
          told.add(runs.divergence(new Block(layer - 1, layer), change, states, 0.5));
        }
        for (int i = 0; i < told.size(); i++) {
          double each = caused.get(i) / blocks.tokens();
          assertEquals(each, told.get(i).getAsDouble(), 1e-3 * each);
        }
      }
    }
  }

  /** Fills a small change of all hidden states, and returns the divergence that it causes. */
  private static double causedBy(
      Tensor change, int layer, CausalLm original, FitBlocks blocks, TensorArena arena) {
    Backend backend = original.backend();
    Random random = new Random(7);
    double divergence = 0;
    try (Workspace work = new Workspace(backend, original.config(), blocks.largest())) {
      for (FitBlocks.Block block : blocks.list()) {
        Tensor states = arena.allocate(DType.F32, block.tokens(), change.columns());
        Tensor reference = arena.allocate(DType.F32, block.tokens(), change.columns());
        original.embed(block.batch(), states);
        for (int index = 0; index < layer; index++) {
          original.layer(index, states, block.batch(), work, null);
        }
        float[] values = new float[Math.toIntExact(states.elements())];
        backend.download(states, values);
        int width = Math.toIntExact(states.columns());
        float[] noise = new float[values.length];
        for (int row = 0; row < values.length; row += width) {
          double square = 0;
          for (int i = row; i < row + width; i++) {
            square += (double) values[i] * values[i];
          }
          double size = SMALL * Math.sqrt(square / width);
          for (int i = row; i < row + width; i++) {
            noise[i] = (float) (size * random.nextGaussian());
          }
        }
        Tensor own = change.slice(block.from(), block.to());
        backend.upload(noise, own);
        Tensor changed = arena.allocate(DType.F32, block.tokens(), change.columns());
        backend.copy(states, changed);
        backend.add(changed, own);
        original.finish(layer, states, block.batch(), work, reference);
        original.finish(layer, changed, block.batch(), work, changed);
        divergence +=
            Arrays.stream(NextTokens.kl(original, reference, changed, block.batch())).sum();
      }
    }
    return divergence;
  }
}
