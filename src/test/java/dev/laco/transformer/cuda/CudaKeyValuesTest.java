package dev.laco.transformer.cuda;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.Compute;
import dev.laco.CudaBinding;
import dev.laco.Fixtures;
import dev.laco.backend.Backend;
import dev.laco.backend.MemoryTensor;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.backend.TokenBatch;
import dev.laco.backend.cuda.CudaBackend;
import dev.laco.backend.cuda.EmulatedDevice;
import dev.laco.backend.cuda.FreshDevice;
import dev.laco.backend.cuda.OnStandIn;
import dev.laco.checkpoint.Checkpoint;
import dev.laco.measure.Generator;
import dev.laco.measure.Sampler;
import dev.laco.model.DType;
import dev.laco.model.HostTensor;
import dev.laco.model.ModelConfig;
import dev.laco.model.PackedSequences;
import dev.laco.model.TensorSource;
import dev.laco.transformer.CausalLm;
import dev.laco.transformer.KeyValueCache;
import dev.laco.transformer.RunningModel;
import dev.laco.transformer.Workspace;
import java.lang.foreign.Arena;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Proxy;
import java.util.ArrayList;
import java.util.EnumSet;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/**
 * A model on a GPU stores keys and values in the 16 bits in which attention multiplies. The result
 * has the bits that it has where a layer stores f32 and attention rounds: a card's library may add
 * the products of values in another order.
 */
@OnStandIn
@ExtendWith(FreshDevice.class)
class CudaKeyValuesTest {
  private static final int LONGEST = 20;
  private static final int MOST = 6;

  /** What a backend was seen to do. */
  private static final class Seen {
    /** Dtypes of the keys and values that attention was given. */
    final Set<DType> keyValues = EnumSet.noneOf(DType.class);

    /** Bytes of tensors of all arenas. */
    long allocated;
  }

  /** Norms of heads, biases, partial rotation and none, one matrix of all heads, f16. */
  @ParameterizedTest
  @CsvSource({
    "llama_tied_rope3,BF16", "llama_mha_bias_f16,F16", "qwen3_moe,BF16", "olmo2,BF16",
    "qwen2_bias,BF16", "phi3_std,BF16", "smollm3_std,BF16", "gpt_oss,BF16"
  })
  void givesTheBitsThatRoundingInAttentionGives(String fixture, DType type) {
    Seen seen = new Seen();
    assertArrayEquals(
        states(fixture, type, true, new Seen()), states(fixture, type, false, seen), fixture);
    assertEquals(EnumSet.of(type), seen.keyValues);
  }

  @ParameterizedTest
  @CsvSource({"llama_tied_rope3,BF16", "llama_mha_bias_f16,F16", "qwen3_moe,BF16"})
  void generatesTheSameTokensFromACacheOfHalfTheSize(String fixture, DType type) {
    Seen full = new Seen();
    Seen halves = new Seen();
    assertEquals(tokens(fixture, type, true, full), tokens(fixture, type, false, halves));
    ModelConfig config =
        ModelConfig.parse(fixture, Fixtures.read(Fixtures.model(fixture).resolve("config.json")));
    long bytes = 3 * KeyValueCache.slotBytes(config, DType.F32, LONGEST + MOST);
    assertEquals(bytes / 2, full.allocated - halves.allocated);
    try (CudaBackend backend = CudaBackend.open(Compute.AUTO, 0, CudaBinding.FFM)) {
      long planned = Generator.bytes(backend, config, type, 3, LONGEST, MOST);
      assertEquals(planned, halves.allocated);
    }
  }

  /** One launch copies what a layer adds to the cache, of all texts. */
  @Test
  void aStepAsksForAsMuchWhateverTheNumberOfTexts() {
    Map<String, Long> few = step(2);
    assertEquals(few, step(9));
    assertEquals(12, few.get("launches of laco_append_key_values_v1"));
    assertEquals(null, few.get("copies on the device"));
  }

  /** How often a device is asked, by name, in a step that writes a token of each text. */
  private static Map<String, Long> step(int texts) {
    try (Checkpoint checkpoint = Checkpoint.open(Fixtures.model("llama_tied_rope3"));
        Arena memory = Arena.ofConfined();
        CudaBackend cuda = CudaBackend.open(Compute.AUTO, 0, CudaBinding.FFM)) {
      CausalLm model = model(cuda, checkpoint, DType.BF16, memory);
      try (Generator generator =
          new Generator(model, Sampler.GREEDY, Set.of(), texts, LONGEST, MOST)) {
        for (int i = 0; i < texts; i++) {
          generator.add(new int[] {1 + i}, _ -> true);
        }
        // The first one uploads weights and allocates the cache.
        generator.step();
        Map<String, Long> before = EmulatedDevice.work();
        generator.step();
        Map<String, Long> asked = EmulatedDevice.work();
        asked.keySet().removeIf(name -> name.contains("bytes") || name.contains("operations"));
        asked.replaceAll((name, count) -> count - before.getOrDefault(name, 0L));
        asked.values().removeIf(count -> count == 0);
        return asked;
      }
    }
  }

  /** The stand-in has 8 GiB, of which a fortieth is for what is written at a time. */
  @OnStandIn
  @Test
  void moreTextsAreWrittenAtATimeWhereADeviceHasTheMemory() {
    String name = "llama_tied_rope3";
    ModelConfig config =
        ModelConfig.parse(name, Fixtures.read(Fixtures.model(name).resolve("config.json")));
    long each =
        KeyValueCache.slotBytes(config, DType.BF16, 256)
            + Workspace.bytes(config, 1)
            + config.vocabSize() * 4L;
    int longer = Math.toIntExact(256 * ((8L << 30) / 40 / each) / 100);
    try (CudaBackend backend = CudaBackend.open(Compute.AUTO, 0, CudaBinding.FFM)) {
      assertEquals(256, Generator.atOnce(backend, config, 1000, 256));
      assertEquals(10, Generator.atOnce(backend, config, 10, 256));
      int few = Generator.atOnce(backend, config, 1000, longer);
      assertTrue(few >= 64 && few <= 128, () -> few + " texts of " + longer + " tokens");
    }
    try (CudaBackend backend = CudaBackend.open(Compute.AUTO, 0, CudaBinding.FFM, 1L << 30)) {
      assertEquals(64, Generator.atOnce(backend, config, 1000, 256));
    }
  }

  /** Hidden states behind the last layer. */
  private static float[] states(String fixture, DType type, boolean wide, Seen seen) {
    try (Checkpoint checkpoint = Checkpoint.open(Fixtures.model(fixture));
        Arena memory = Arena.ofConfined();
        CudaBackend cuda = CudaBackend.open(Compute.AUTO, 0, CudaBinding.FFM)) {
      Backend backend = watched(cuda, wide, seen);
      ModelConfig config = checkpoint.config();
      CausalLm model = model(backend, checkpoint, type, memory);
      Random random = new Random(7);
      List<int[]> sequences = new ArrayList<>();
      for (int length : new int[] {9, 1, 40}) {
        sequences.add(random.ints(length, 0, config.vocabSize()).toArray());
      }
      PackedSequences packed = PackedSequences.of(sequences);
      try (TensorArena arena = backend.arena();
          Workspace work = new Workspace(backend, config, packed.size());
          TokenBatch batch = model.batch(packed)) {
        Tensor x = arena.allocate(DType.F32, packed.size(), config.hiddenSize());
        model.embed(batch, x);
        for (int layer = 0; layer < model.depth(); layer++) {
          model.layer(layer, x, batch, work, null);
        }
        float[] states = new float[(int) x.elements()];
        backend.download(x, states);
        return states;
      }
    }
  }

  private static List<List<Integer>> tokens(String fixture, DType type, boolean wide, Seen seen) {
    try (Checkpoint checkpoint = Checkpoint.open(Fixtures.model(fixture));
        Arena memory = Arena.ofConfined();
        CudaBackend cuda = CudaBackend.open(Compute.AUTO, 0, CudaBinding.FFM)) {
      CausalLm model = model(watched(cuda, wide, seen), checkpoint, type, memory);
      Random random = new Random(7);
      Sampler sampler = Sampler.of(1, new Random(3));
      List<List<Integer>> all = new ArrayList<>();
      try (Generator generator = new Generator(model, sampler, Set.of(), 3, LONGEST, MOST)) {
        for (int length : new int[] {5, 20, 11}) {
          List<Integer> own = new ArrayList<>();
          all.add(own);
          generator.add(
              random.ints(length, 0, checkpoint.config().vocabSize()).toArray(), own::add);
        }
        generator.finish();
      }
      assertEquals(EnumSet.of(wide ? DType.F32 : type), seen.keyValues);
      return all;
    }
  }

  /** A model whose weights are rounded to a dtype. */
  private static CausalLm model(Backend backend, Checkpoint checkpoint, DType type, Arena memory) {
    Map<String, HostTensor> rounded = new HashMap<>();
    TensorSource source =
        name ->
            rounded.computeIfAbsent(
                name,
                _ -> {
                  HostTensor from = checkpoint.tensor(name);
                  if (from.dtype() == type) {
                    return from;
                  }
                  HostTensor to = HostTensor.allocate(memory, name, type, from.shape());
                  MemoryTensor wide = MemoryTensor.of(from);
                  MemoryTensor narrow = MemoryTensor.of(to);
                  for (long i = 0; i < wide.elements(); i++) {
                    narrow.set(i, wide.get(i));
                  }
                  return to;
                });
    return new RunningModel(backend, checkpoint.config(), source).original();
  }

  /**
   * A backend that notes what it is asked for.
   *
   * @param wide whether it asks for keys and values of f32, which attention then rounds
   */
  private static Backend watched(Backend backend, boolean wide, Seen seen) {
    return (Backend)
        Proxy.newProxyInstance(
            CudaKeyValuesTest.class.getClassLoader(),
            new Class<?>[] {Backend.class},
            (_, method, arguments) -> {
              if (method.getName().equals("keyValueType") && wide) {
                return DType.F32;
              }
              if (method.getName().equals("attention")) {
                seen.keyValues.add(((Tensor) arguments[1]).dtype());
                seen.keyValues.add(((Tensor) arguments[2]).dtype());
              }
              Object result;
              try {
                result = method.invoke(backend, arguments);
              } catch (InvocationTargetException e) {
                throw e.getCause();
              }
              return result instanceof TensorArena arena ? counting(arena, seen) : result;
            });
  }

  private static TensorArena counting(TensorArena arena, Seen seen) {
    return new TensorArena() {
      @Override
      public Tensor allocate(DType dtype, long rows, long columns) {
        seen.allocated += rows * columns * dtype.byteSize();
        return arena.allocate(dtype, rows, columns);
      }

      @Override
      public void close() {
        arena.close();
      }
    };
  }
}
