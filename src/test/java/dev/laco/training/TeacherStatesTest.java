package dev.laco.training;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;

import dev.laco.Compute;
import dev.laco.Fixtures;
import dev.laco.apply.PlanApplier;
import dev.laco.backend.Backend;
import dev.laco.backend.Device;
import dev.laco.backend.Tensor;
import dev.laco.backend.TokenBatch;
import dev.laco.backend.cpu.CpuBackend;
import dev.laco.checkpoint.Checkpoint;
import dev.laco.collapse.CollapsePlan;
import dev.laco.model.LayerAttention;
import dev.laco.model.ModelConfig;
import dev.laco.model.NewWeights;
import dev.laco.model.PackedSequences;
import dev.laco.model.TensorSpec;
import dev.laco.text.FitText;
import dev.laco.transformer.AdamWState;
import dev.laco.transformer.CausalLm;
import dev.laco.transformer.LayerStack;
import dev.laco.transformer.PlannedLayers;
import dev.laco.transformer.RunningModel;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.Random;
import org.junit.jupiter.api.Test;

/** What the original makes of a text is computed once, and is then what it was. */
class TeacherStatesTest {
  private static final int FIRST = 2;
  private static final int BATCH = 24;

  /** Layers that count how often they run. */
  private static final class Counting implements LayerStack {
    private final LayerStack layers;
    private int runs;

    private Counting(LayerStack layers) {
      this.layers = layers;
    }

    @Override
    public int depth() {
      return layers.depth();
    }

    @Override
    public Map<TensorSpec, Tensor> tensors(int index, long tokens) {
      runs++;
      return layers.tensors(index, tokens);
    }

    @Override
    public LayerAttention attention(int index) {
      return layers.attention(index);
    }
  }

  @Test
  void theOriginalRunsOverTheTextOnce() {
    try (Backend backend = CpuBackend.open(Compute.F32, 1);
        Checkpoint checkpoint = Checkpoint.open(Fixtures.model("llama_untied_gqa"))) {
      RunningModel running = new RunningModel(backend, checkpoint.config(), checkpoint);
      CollapsePlan whole = CollapsePlan.identity(PlanApplier.source(checkpoint));
      Random random = new Random(3);
      List<FitText.Chunk> text = new ArrayList<>();
      for (int i = 0; i < 10; i++) {
        int[] ids = random.ints(5 + i, 0, checkpoint.config().vocabSize()).toArray();
        text.add(new FitText.Chunk(ids, i, "a text"));
      }
      long tokens = text.stream().mapToLong(FitText.Chunk::length).sum();
      long bytes = TeacherStates.bytes(tokens, checkpoint.config().hiddenSize());
      DistillationSettings settings = DistillationSettings.forModel(1, null, AdamWState.FULL);
      try (PlannedLayers layers = running.pruned(whole, NewWeights.NONE);
          TrainedLayers trained =
              TrainedLayers.of(
                  new Student(layers.outside(), layers, FIRST),
                  settings,
                  Residence.EVERYTHING,
                  Path.of("target"),
                  0)) {
        Counting counting = new Counting(layers);
        CausalLm original = new CausalLm(running, counting);
        CausalLm student = new CausalLm(layers.outside(), trained);
        try (Passes passes = new Passes(original, student, trained, FIRST, BATCH);
            TeacherStates kept =
                TeacherStates.kept(
                    passes, text, BATCH, SwapFile.create(backend, Path.of("target"), bytes, 0));
            TeacherStates computed = TeacherStates.computed(passes)) {
          int batches = DistillationText.parts(text, BATCH).size();
          for (int pass = 0; pass < 3; pass++) {
            Collections.shuffle(text, random);
            for (List<FitText.Chunk> together : DistillationText.parts(text, BATCH)) {
              int before = counting.runs;
              List<float[]> expected = states(passes, computed, together);
              int again = counting.runs;
              assertEquals(layers.depth(), again - before);
              List<float[]> found = states(passes, kept, together);
              counting.runs = before + counting.runs - again;
              for (int i = 0; i < expected.size(); i++) {
                assertArrayEquals(expected.get(i), found.get(i), 1e-5f);
              }
            }
            assertEquals(batches * layers.depth(), counting.runs, "after pass " + pass);
          }
        }
      }
    }
  }

  /** A GPU runs a small original in less time than a file takes for its states. */
  @Test
  void statesAreKeptWhereTheOriginalTakesLonger() {
    try (Checkpoint checkpoint = Checkpoint.open(Fixtures.model("llama_untied_gqa"))) {
      ModelConfig config = checkpoint.config();
      List<FitText.Chunk> chunks = List.of(new FitText.Chunk(new int[100], 0, "a text"));
      DistillationText text = new DistillationText(chunks, chunks);
      long bytes = TeacherStates.bytes(100, config.hiddenSize());
      Device cpu = new UnknownDevice(1e12);
      assertEquals(bytes, Distillation.keptStateBytes(cpu, config, text, 150));
      assertEquals(0, Distillation.keptStateBytes(cpu, config, text, 149), "met hardly twice");
      assertEquals(0, Distillation.keptStateBytes(new UnknownDevice(1e15), config, text, 150));
    }
  }

  /** Shared and last hidden states of a batch. */
  private static List<float[]> states(
      Passes passes, TeacherStates states, List<FitText.Chunk> together) {
    PackedSequences sequences =
        PackedSequences.of(together.stream().map(FitText.Chunk::ids).toList());
    List<float[]> all = new ArrayList<>();
    try (TokenBatch batch = passes.batch(sequences)) {
      states.bring(batch, together);
      for (Tensor tensor :
          List.of(passes.shared(sequences.size()), passes.reference(sequences.size()))) {
        float[] values = new float[Math.toIntExact(tensor.elements())];
        passes.backend().download(tensor, values);
        all.add(values);
      }
    }
    return all;
  }
}
