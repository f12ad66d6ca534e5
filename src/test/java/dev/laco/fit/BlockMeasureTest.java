package dev.laco.fit;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.Compute;
import dev.laco.Fixtures;
import dev.laco.Model;
import dev.laco.backend.Backend;
import dev.laco.backend.MemoryArena;
import dev.laco.backend.MemoryTensor;
import dev.laco.backend.cpu.CpuBackend;
import dev.laco.backend.reference.ReferenceBackend;
import dev.laco.checkpoint.Checkpoint;
import dev.laco.collapse.BlockCost;
import dev.laco.collapse.BlockSettings;
import dev.laco.collapse.BlockSettings.Block;
import dev.laco.model.HostTensor;
import dev.laco.model.TensorSource;
import dev.laco.run.JobTexts;
import dev.laco.text.FitText;
import dev.laco.transformer.RunningModel;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Random;
import java.util.Set;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** What the removal of blocks costs, measured in closed form. */
class BlockMeasureTest {
  private static final int HUGE_TOKEN = 5;

  private static List<BlockCost> costs(
      Backend backend,
      Checkpoint model,
      TensorSource weights,
      FitText text,
      BlockSettings settings) {
    try (BlockMeasure measure =
        new BlockMeasure(new RunningModel(backend, model.config(), weights), text, settings)) {
      return measure.measure(share -> {});
    }
  }

  private static FitText randomText(Checkpoint model) {
    Random random = new Random(5);
    List<FitText.Chunk> chunks = new ArrayList<>();
    for (int i = 0; i < 16; i++) {
      chunks.add(
          new FitText.Chunk(random.ints(24, 0, model.config().vocabSize()).toArray(), i, "a text"));
    }
    return new FitText("random", chunks);
  }

  /**
   * Gated, without a gate, with attention beside the network, with mixtures in some layers, and
   * with norms behind down projections.
   */
  @ParameterizedTest
  @ValueSource(
      strings = {"llama_untied_gqa", "qwen3_qknorm", "gpt_neox", "qwen3_moe", "gemma3_std"})
  void theProcessorMeasuresWhatTheReferenceDoes(String name) {
    try (Checkpoint model = Checkpoint.open(Fixtures.model(name));
        Backend reference = new ReferenceBackend(Compute.F32);
        Backend processor = CpuBackend.open(Compute.F32, 0)) {
      int depth = model.config().numHiddenLayers();
      BlockSettings settings = new BlockSettings(0, depth, 1, Math.min(3, depth - 1));
      FitText text = randomText(model);
      List<BlockCost> expected = costs(reference, model, model, text, settings);
      List<BlockCost> measured = costs(processor, model, model, text, settings);
      assertEquals(
          expected.stream().map(BlockCost::block).toList(),
          measured.stream().map(BlockCost::block).toList());
      for (int i = 0; i < expected.size(); i++) {
        BlockCost one = expected.get(i);
        assertTrue(one.unexplained() > 0 && one.divergence() > 0, one::toString);
        assertEquals(one.unexplained(), measured.get(i).unexplained(), 1e-3 * one.unexplained());
        assertEquals(one.divergence(), measured.get(i).divergence(), 1e-2 * one.divergence());
      }
    }
  }

  /** Of a long text, a model sees eight tokens for each of its channels. */
  @Test
  void theTokensOfASmallModelGoByItsChannels() {
    Random random = new Random(6);
    List<FitText.Chunk> chunks = new ArrayList<>();
    for (int i = 0; i < 80; i++) {
      chunks.add(new FitText.Chunk(random.ints(256, 0, 64).toArray(), i, "a text"));
    }
    FitText text = new FitText("random", chunks);
    try (Checkpoint small = Checkpoint.open(Fixtures.model("llama_untied_gqa"));
        Checkpoint storyteller = Checkpoint.open(Fixtures.STORYTELLER)) {
      for (Checkpoint model : List.of(small, storyteller)) {
        assertEquals(
            8 * model.config().intermediateSize(), BlockMeasure.tokens(model.config(), text));
      }
    }
  }

  /** The only chunk of a text is held out, so that nothing is fitted. */
  @Test
  void aTextOfOneChunkMeasuresBlocksAsTheyAre() {
    try (Checkpoint model = Checkpoint.open(Fixtures.model("llama_untied_gqa"));
        Backend backend = CpuBackend.open(Compute.F32, 0)) {
      FitText one = new FitText("one chunk", List.of(randomText(model).chunks().getFirst()));
      BlockSettings settings = new BlockSettings(0, model.config().numHiddenLayers(), 1, 2);
      for (BlockCost cost : costs(backend, model, model, one, settings)) {
        assertTrue(cost.unexplained() > 0 && cost.divergence() > 0, cost::toString);
      }
    }
  }

  /** Layers whose output and down projections are zero. */
  @Test
  void layersThatAddNothingCostNothing() {
    String name = "llama_untied_gqa";
    Set<String> zeros =
        Set.of(
            "model.layers.2.self_attn.o_proj.weight",
            "model.layers.2.mlp.down_proj.weight",
            "model.layers.3.self_attn.o_proj.weight",
            "model.layers.3.mlp.down_proj.weight");
    try (Checkpoint model = Checkpoint.open(Fixtures.model(name));
        MemoryArena memory = new MemoryArena();
        Backend backend = CpuBackend.open(Compute.F32, 0)) {
      Map<String, HostTensor> emptied = new HashMap<>();
      for (String zero : zeros) {
        HostTensor own = model.tensor(zero);
        emptied.put(zero, HostTensor.allocate(memory, zero, own.dtype(), own.shape()));
      }
      BlockSettings settings = new BlockSettings(0, model.config().numHiddenLayers(), 1, 2);
      List<BlockCost> costs =
          costs(
              backend,
              model,
              tensor ->
                  zeros.contains(tensor)
                      ? Objects.requireNonNull(emptied.get(tensor))
                      : model.tensor(tensor),
              randomText(model),
              settings);
      for (BlockCost cost : costs) {
        boolean nothing = cost.block().from() >= 2 && cost.block().to() <= 4;
        assertEquals(nothing, cost.unexplained() == 0, cost::toString);
        assertEquals(nothing, cost.divergence() == 0, cost::toString);
      }
    }
  }

  /**
   * A token whose hidden states become huge in layer 1, at the end of every chunk that is fitted.
   */
  @Test
  void aTokenThatBecomesHugeInABlockDoesNotHideAllOthers() {
    try (Checkpoint model = Checkpoint.open(Fixtures.model("llama_untied_gqa"));
        MemoryArena memory = new MemoryArena();
        Backend backend = CpuBackend.open(Compute.F32, 0)) {
      List<FitText.Chunk> chunks = new ArrayList<>();
      for (FitText.Chunk chunk : randomText(model).chunks()) {
        int[] ids = Arrays.stream(chunk.ids()).map(id -> id == HUGE_TOKEN ? 0 : id).toArray();
        if (chunk.document() % 8 != 7) {
          ids[ids.length - 1] = HUGE_TOKEN;
        }
        chunks.add(new FitText.Chunk(ids, chunk.document(), chunk.domain()));
      }
      FitText text = new FitText("random", chunks);
      BlockSettings settings = new BlockSettings(0, model.config().numHiddenLayers(), 1, 3);
      List<BlockCost> usual = costs(backend, model, growing(model, memory, 0), text, settings);
      List<BlockCost> huge = costs(backend, model, growing(model, memory, 1e4f), text, settings);
      for (int i = 0; i < usual.size(); i++) {
        BlockCost one = huge.get(i);
        assertEquals(1, one.unexplained() / usual.get(i).unexplained(), 0.2, one::toString);
        assertEquals(1, one.divergence() / usual.get(i).divergence(), 0.2, one::toString);
      }
    }
  }

  /** Weights in which layer 1 adds {@code size} to one hidden dimension of one token alone. */
  private static TensorSource growing(Checkpoint model, MemoryArena memory, float size) {
    String mlp = "model.layers.1.mlp.";
    Map<String, HostTensor> changed = new HashMap<>();
    for (String name :
        List.of(
            "model.embed_tokens.weight",
            "model.layers.0.self_attn.o_proj.weight",
            "model.layers.0.mlp.down_proj.weight",
            "model.layers.1.self_attn.o_proj.weight",
            mlp + "gate_proj.weight",
            mlp + "up_proj.weight",
            mlp + "down_proj.weight")) {
      HostTensor own = model.tensor(name);
      HostTensor copy = HostTensor.allocate(memory, name, own.dtype(), own.shape());
      copy.data().copyFrom(own.data());
      changed.put(name, copy);
      MemoryTensor values = MemoryTensor.of(copy);
      long columns = copy.columns();
      if (name.startsWith("model.embed")) {
        // Hidden dimension 0 tells the token, and nothing else is in it.
        for (long row = 0; row < copy.rows(); row++) {
          values.set(row * columns, row == HUGE_TOKEN ? 4 : 0);
        }
      } else if (name.startsWith(mlp) && !name.contains("down")) {
        // Channel 0 is open for that token.
        for (long column = 0; column < columns; column++) {
          values.set(column, column == 0 ? 1 : 0);
        }
      } else {
        for (long column = 0; column < columns; column++) {
          values.set(column, 0);
        }
        if (name.startsWith(mlp)) {
          for (long row = 0; row < copy.rows(); row++) {
            values.set(row * columns, row == 1 ? size : 0);
          }
        }
      }
    }
    return name -> changed.containsKey(name) ? changed.get(name) : model.tensor(name);
  }

  /** On a trained model: longer blocks leave more, and the cheapest ones are where fits say. */
  @Test
  void theDemoModelLosesLeastNearItsFront() {
    try (Model model = Model.open(Fixtures.STORYTELLER);
        Backend backend = CpuBackend.open(Compute.AUTO, 0)) {
      BlockSettings settings = new BlockSettings(1, 16, 1, 3);
      List<BlockCost> costs =
          costs(
              backend,
              model.checkpoint(),
              model.checkpoint(),
              JobTexts.fit(JobTexts.fitSource(model, null), model, 2048),
              settings);
      Map<Block, BlockCost> byBlock = new HashMap<>();
      costs.forEach(cost -> byBlock.put(cost.block(), cost));
      for (BlockCost cost : costs) {
        BlockCost longer = byBlock.get(new Block(cost.block().from(), cost.block().to() + 1));
        if (longer != null) {
          assertTrue(longer.unexplained() > cost.unexplained(), cost::toString);
        }
      }
      BlockCost cheapest =
          costs.stream()
              .filter(cost -> cost.block().length() == 3)
              .min(Comparator.comparingDouble(BlockCost::divergence))
              .orElseThrow();
      assertTrue(cheapest.block().to() <= 8, cheapest::toString);
    }
  }
}
