package dev.laco.run;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.Compute;
import dev.laco.DeviceInfo;
import dev.laco.DeviceSettings;
import dev.laco.Fixtures;
import dev.laco.ResourceException;
import dev.laco.backend.Backend;
import dev.laco.backend.DeviceMemory;
import dev.laco.backend.MemoryArena;
import dev.laco.backend.Tensor;
import dev.laco.backend.TensorArena;
import dev.laco.backend.reference.ReferenceBackend;
import dev.laco.checkpoint.Checkpoint;
import dev.laco.checkpoint.SparseCheckpoint;
import dev.laco.fit.FittedChoice;
import dev.laco.fit.WholeText;
import dev.laco.model.DType;
import dev.laco.model.ModelConfig;
import dev.laco.text.FitText;
import dev.laco.transformer.Workspace;
import java.io.IOException;
import java.lang.reflect.Proxy;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** What of a model of twelve equal layers stays in memory. */
final class MemoryPlanTest {
  private static final long BUFFERS = 1_000_000;

  private final Checkpoint checkpoint = Checkpoint.open(Fixtures.model("llama_tied_rope3"));
  private final long all = checkpoint.totalBytes();
  private final long layer = MemoryPlan.layerBytes(checkpoint);

  @AfterEach
  void close() {
    checkpoint.close();
  }

  private static Backend device(DeviceInfo info) {
    return (Backend)
        Proxy.newProxyInstance(
            MemoryPlanTest.class.getClassLoader(),
            new Class<?>[] {Backend.class},
            (proxy, method, arguments) ->
                switch (method.getName()) {
                  case "info" -> info;
                  case "scratchBytes" -> 0L;
                  default -> throw new UnsupportedOperationException(method.getName());
                });
  }

  private static final Backend PROCESSOR =
      device(DeviceInfo.inHostMemory(DeviceInfo.Kind.CPU, "cpu"));

  private MemoryPlan plan(Backend backend, DeviceSettings settings, int mixed) {
    return MemoryPlan.of(
        backend, checkpoint, settings, MemoryPlan.Beside.buffers(BUFFERS), mixed, "try less");
  }

  private static DeviceSettings host(long bytes) {
    return DeviceSettings.of("cpu").withMemory(null, MemoryPlan.JAVA_BYTES + BUFFERS + bytes);
  }

  @Test
  void weightsThatFitAreMappedAndOthersStream() {
    assertTrue(plan(PROCESSOR, host(all), 1).describe(PROCESSOR).contains("of weights mapped"));
    String streaming = plan(PROCESSOR, host(all - 1), 1).describe(PROCESSOR);
    assertTrue(streaming.contains("streaming, window "), streaming);
    assertEquals(all - 1, plan(PROCESSOR, host(all - 1), 1).host().bytes());
    assertTrue(MemoryPlan.streams(PROCESSOR, checkpoint, host(all - BUFFERS - 1)));
    assertFalse(MemoryPlan.streams(PROCESSOR, checkpoint, host(all)));
  }

  @Test
  void whatIsUsedAtOnceMustFit() {
    long embedding =
        checkpoint.byteSize(checkpoint.config().architecture().embedding())
            + checkpoint.byteSize(checkpoint.config().architecture().finalNorm());
    long atOnce = Math.max(layer, embedding);
    plan(PROCESSOR, host(atOnce), 1);
    ResourceException e =
        assertThrows(ResourceException.class, () -> plan(PROCESSOR, host(atOnce - 1), 1));
    assertTrue(e.getMessage().contains("hostMemory, less 160.0 MB for Java, gives"), e::getMessage);
    assertTrue(e.getMessage().endsWith("give more memory, or try less"), e::getMessage);
    // Of a mixed layer the largest tensor and its originals.
    assertThrows(ResourceException.class, () -> plan(PROCESSOR, host(atOnce), 100));
  }

  @Test
  void aDeviceWithMemoryOfItsOwnHasAPoolOfItsOwn() {
    Backend gpu =
        device(
            new DeviceInfo(
                DeviceInfo.Kind.CUDA, "cuda:0", new DeviceInfo.Memory(100L * all, 1e12)));
    DeviceSettings settings =
        DeviceSettings.of("cuda").withMemory(BUFFERS + all - 1, MemoryPlan.JAVA_BYTES + all);
    MemoryPlan plan = plan(gpu, settings, 1);
    assertEquals(all - 1, plan.device().bytes());
    assertEquals(all, plan.host().bytes());
    assertTrue(plan.describe(gpu).contains("streaming"));
    MemoryPlan free = plan(gpu, settings.withMemory(null, MemoryPlan.JAVA_BYTES + all), 1);
    assertEquals(90L * all - BUFFERS, free.device().bytes());
    assertTrue(free.describe(gpu).contains("on the device"));
  }

  /** In the shapes of Qwen3-30B-A3B; weights are holes in the files. */
  @Test
  void aLayerOfAMixtureHasAllItsExperts(@TempDir Path folder) throws IOException {
    SparseCheckpoint.write(
        folder,
        """
        {"architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe", "hidden_size": 2048,
         "intermediate_size": 6144, "moe_intermediate_size": 768, "num_experts": 128,
         "num_experts_per_tok": 8, "num_attention_heads": 32, "num_key_value_heads": 4,
         "head_dim": 128, "num_hidden_layers": 48, "vocab_size": 151936}
        """,
        16);
    try (Checkpoint mixture = Checkpoint.open(folder)) {
      long expert = 3 * 2048 * 768;
      long parameters = 2L * 2048 * (32 + 4) * 128 + 2 * 128 + 2 * 2048 + 128 * (expert + 2048);
      assertEquals(2 * parameters, MemoryPlan.layerBytes(mixture));
      assertEquals(30_532_122_624L, mixture.parameterCount());
      // Four projections, the router, and eight of 128 experts.
      assertEquals(
          2L * 2048 * (32 + 4) * 128 + 128 * 2048 + 8 * expert,
          mixture.config().activeParameters(0));
      // A layer that is trained: weights, gradients, and two running means, all in f32.
      FitText text = new FitText("a text", List.of(new FitText.Chunk(new int[2048], 0, "a text")));
      try (Backend backend = new ReferenceBackend(Compute.F32)) {
        long training = FittedChoice.bytes(backend, mixture.config(), text, WholeText.of(text));
        assertTrue(training > 16 * parameters && training < 24 * parameters, training + " bytes");
      }
      MemoryPlan plan =
          MemoryPlan.of(
              PROCESSOR,
              mixture,
              host(3 * 2 * parameters),
              MemoryPlan.Beside.buffers(BUFFERS),
              1,
              "try less");
      String said = plan.describe(PROCESSOR);
      assertTrue(said.startsWith("61.1 GB of weights, streaming, window 3 layers, "), said);
      assertThrows(
          ResourceException.class,
          () ->
              MemoryPlan.of(
                  PROCESSOR,
                  mixture,
                  host(2 * parameters - 1),
                  MemoryPlan.Beside.buffers(BUFFERS),
                  1,
                  "try less"));
    }
  }

  /** The buffers of a forward pass are those that are counted, of mixtures and of others. */
  @ParameterizedTest
  @MethodSource("dev.laco.Fixtures#names")
  void buffersAreCounted(String name) {
    ModelConfig config =
        ModelConfig.parse(name, Fixtures.read(Fixtures.model(name).resolve("config.json")));
    long[] allocated = new long[1];
    TensorArena counting =
        new TensorArena() {
          private final TensorArena arena = new MemoryArena();

          @Override
          public Tensor allocate(DType dtype, long rows, long columns) {
            allocated[0] += rows * columns * dtype.byteSize();
            return arena.allocate(dtype, rows, columns);
          }

          @Override
          public void close() {
            arena.close();
          }
        };
    DeviceMemory memory =
        (DeviceMemory)
            Proxy.newProxyInstance(
                MemoryPlanTest.class.getClassLoader(),
                new Class<?>[] {DeviceMemory.class},
                (proxy, method, arguments) -> counting);
    try (Workspace _ = new Workspace(memory, config, 7)) {
      assertEquals(Workspace.bytes(config, 7), allocated[0]);
    }
  }

  @Test
  void newWeightsCountHereAndOnTheDevice() {
    MemoryPlan.Beside beside = new MemoryPlan.Beside(BUFFERS, 2 * layer);
    ResourceException e =
        assertThrows(
            ResourceException.class,
            () -> MemoryPlan.of(PROCESSOR, checkpoint, host(layer), beside, 1, "try less"));
    assertTrue(e.getMessage().contains("new weights ("), e::getMessage);
    MemoryPlan plan = MemoryPlan.of(PROCESSOR, checkpoint, host(all), beside, 1, "try less");
    assertEquals(all - 2 * layer, plan.host().bytes());
  }
}
