package dev.laco.checkpoint;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.BadInputException;
import dev.laco.Compute;
import dev.laco.Fixtures;
import dev.laco.InputJson;
import dev.laco.ResourceException;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.backend.TokenBatch;
import dev.laco.backend.cpu.CpuBackend;
import dev.laco.model.DType;
import dev.laco.model.ModelConfig;
import dev.laco.model.PackedSequences;
import dev.laco.model.TensorSource;
import dev.laco.transformer.CausalLm;
import dev.laco.transformer.RunningModel;
import dev.laco.transformer.Workspace;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** A pool of weights: what stays, what goes, and how much of it is there at most. */
class WeightPoolTest {
  private static final String LAYER = "model.layers.%d.mlp.down_proj.weight";

  @TempDir Path folder;

  private final List<String> evicted = new ArrayList<>();

  private WeightPool pool(Checkpoint checkpoint, long budget) {
    return new WeightPool(checkpoint, checkpoint, budget, "given are ", evicted::add);
  }

  private static long size(Checkpoint checkpoint, String name) {
    return checkpoint.file(name).info(name).byteSize();
  }

  @Test
  void whatWasNotAskedForTheLongestGoesFirstALayerAtATime() {
    try (Checkpoint model = Checkpoint.open(Fixtures.model("llama_untied_gqa"))) {
      String norm = "model.layers.0.input_layernorm.weight";
      long tensor = size(model, String.format(Locale.ROOT, LAYER, 0));
      WeightPool pool = pool(model, 2 * tensor + size(model, norm));
      pool.tensor(norm);
      pool.tensor(String.format(Locale.ROOT, LAYER, 0));
      pool.tensor(String.format(Locale.ROOT, LAYER, 1));
      assertEquals(List.of(), evicted);
      pool.release();
      pool.tensor(String.format(Locale.ROOT, LAYER, 1));
      pool.tensor(String.format(Locale.ROOT, LAYER, 2));
      assertEquals(
          List.of(norm, String.format(Locale.ROOT, LAYER, 0)), evicted.stream().sorted().toList());
      pool.release();
      // There already.
      pool.tensor(String.format(Locale.ROOT, LAYER, 1));
      assertEquals(2, evicted.size());
    }
  }

  @Test
  void whatIsInUseStaysAndMoreThanTheBudgetIsAnError() {
    try (Checkpoint model = Checkpoint.open(Fixtures.model("llama_untied_gqa"))) {
      WeightPool pool = pool(model, 2 * size(model, String.format(Locale.ROOT, LAYER, 0)));
      pool.tensor(String.format(Locale.ROOT, LAYER, 0));
      pool.tensor(String.format(Locale.ROOT, LAYER, 1));
      // No room: it is not brought in, and nothing goes for it.
      pool.prefetch(List.of(String.format(Locale.ROOT, LAYER, 2)));
      assertEquals(List.of(), evicted);
      ResourceException e =
          assertThrows(
              ResourceException.class, () -> pool.tensor(String.format(Locale.ROOT, LAYER, 2)));
      assertTrue(
          e.getMessage()
              .matches("[0-9,]+ bytes of weights are in use at once, given are [0-9,]+ for.*"),
          e.getMessage());
    }
  }

  @Test
  void whatWasPrefetchedGivesWayToWhatIsNeeded() {
    try (Checkpoint model = Checkpoint.open(Fixtures.model("llama_untied_gqa"))) {
      WeightPool pool = pool(model, 2 * size(model, String.format(Locale.ROOT, LAYER, 0)));
      pool.tensor(String.format(Locale.ROOT, LAYER, 0));
      pool.prefetch(List.of(String.format(Locale.ROOT, LAYER, 1)));
      pool.tensor(String.format(Locale.ROOT, LAYER, 2));
      assertEquals(List.of(String.format(Locale.ROOT, LAYER, 1)), evicted);
    }
  }

  @Test
  void aFileThatShrinksMeanwhileIsBadInput() throws IOException {
    Path copy = TestCheckpoints.copy("llama_untied_gqa", folder.resolve("model"));
    try (Checkpoint model = Checkpoint.open(copy)) {
      WeightPool pool = pool(model, Long.MAX_VALUE);
      pool.tensor(String.format(Locale.ROOT, LAYER, 0));
      for (WeightFile file : model.files()) {
        try (RandomAccessFile shorter = new RandomAccessFile(file.path().toFile(), "rw")) {
          shorter.setLength(4096);
        }
      }
      pool.prefetch(List.of(String.format(Locale.ROOT, LAYER, 1)));
      for (int layer = 0; layer < 2; layer++) {
        String name = String.format(Locale.ROOT, LAYER, layer);
        assertThrows(BadInputException.class, () -> pool.tensor(name), name);
      }
    }
  }

  /** Fifty megabytes through a pool of three layers. */
  @Test
  void noMoreOfTheMappingIsInMemoryThanTheBudget() throws IOException {
    Path path = bigModel();
    List<int[]> tokens = List.of(new int[] {1, 2, 3, 4});
    try (Checkpoint model = Checkpoint.open(path);
        CpuBackend backend = CpuBackend.open(Compute.AUTO, 1)) {
      long layer = model.totalBytes() / model.config().numHiddenLayers();
      long budget = 3 * layer;
      WeightPool pool = new WeightPool(model, model, budget, "given are ", model::giveUp);
      Path file = model.files().getFirst().path();
      List<Long> resident = new ArrayList<>();
      float[] streamed =
          run(backend, model.config(), pool, tokens, () -> resident.add(ResidentPages.bytes(file)));
      long most = resident.stream().mapToLong(Long::longValue).max().orElseThrow();
      // The system maps up to sixteen pages at once, so that a little of neighbours comes along.
      long edges = 2L * model.config().numHiddenLayers() * 16 * 4096;
      assertTrue(most <= budget + edges, most + " bytes are mapped, budget " + budget);
      assertTrue(most >= layer, "nothing was measured: " + resident);
      float[] whole = run(backend, model.config(), model, tokens, () -> {});
      assertArrayEquals(whole, streamed);
      assertTrue(ResidentPages.bytes(file) > 2 * budget, "all of it, without a pool");
    }
  }

  private static float[] run(
      CpuBackend backend,
      ModelConfig config,
      TensorSource source,
      List<int[]> tokens,
      Runnable afterLayer) {
    CausalLm lm = new RunningModel(backend, config, source).original();
    PackedSequences sequences = PackedSequences.of(tokens);
    float[] states = new float[sequences.size() * config.hiddenSize()];
    try (TensorArena arena = backend.arena();
        Workspace work = new Workspace(backend, config, sequences.size());
        TokenBatch batch = lm.batch(sequences)) {
      Tensor x = arena.allocate(DType.F32, sequences.size(), config.hiddenSize());
      for (int pass = 0; pass < 2; pass++) {
        lm.embed(batch, x);
        for (int layer = 0; layer < lm.depth(); layer++) {
          lm.layer(layer, x, batch, work, null);
          afterLayer.run();
        }
        lm.finalNorm(x, x);
      }
      backend.download(x, states);
    }
    return states;
  }

  /** Random weights of 24 layers, two megabytes each. */
  private Path bigModel() throws IOException {
    int hidden = 256;
    int intermediate = 1024;
    Path path = Files.createDirectory(folder.resolve("big"));
    Files.writeString(
        path.resolve("config.json"),
        String.format(
            Locale.ROOT,
            """
            {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": %d,
             "intermediate_size": %d, "num_hidden_layers": 24, "num_attention_heads": 4,
             "num_key_value_heads": 4, "vocab_size": 64, "max_position_embeddings": 64,
             "rms_norm_eps": 1e-5, "hidden_act": "silu", "tie_word_embeddings": true,
             "torch_dtype": "bfloat16"}
            """,
            hidden,
            intermediate));
    ModelConfig config =
        ModelConfig.parse("big", InputJson.readObject(path.resolve("config.json")));
    try (Arena arena = Arena.ofConfined()) {
      List<OutputTensor> tensors = new ArrayList<>();
      Random random = new Random(1);
      TensorTable.expected(config)
          .forEach(
              (name, shape) -> {
                long elements =
                    shape.stream().mapToLong(Long::longValue).reduce(1, (a, b) -> a * b);
                MemorySegment data = arena.allocate(2 * elements);
                for (long i = 0; i < elements; i++) {
                  float value = shape.size() == 1 ? 1 : (random.nextFloat() - 0.5f) / 16;
                  data.setAtIndex(ValueLayout.JAVA_SHORT_UNALIGNED, i, DType.toBf16(value));
                }
                tensors.add(OutputTensor.of(name, DType.BF16, shape, data));
              });
      new ShardedWriter(tensors, Long.MAX_VALUE).write(path, bytes -> {});
    }
    return path;
  }
}
