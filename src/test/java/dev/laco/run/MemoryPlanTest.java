package dev.laco.run;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.laco.DeviceInfo;
import dev.laco.DeviceSettings;
import dev.laco.Fixtures;
import dev.laco.ResourceException;
import dev.laco.backend.Backend;
import dev.laco.checkpoint.Checkpoint;
import java.lang.reflect.Proxy;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

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
